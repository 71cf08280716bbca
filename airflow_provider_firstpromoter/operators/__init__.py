"""The operators that send refunds from XCom and that reconcile."""
