"""The operators that send refunds and sales from XCom, reconcile their ledgers, and revert what was sent by mistake."""
