"""The operators that send refunds from XCom, reconcile the ledger, and revert refunds."""
