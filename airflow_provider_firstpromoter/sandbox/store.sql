CREATE TABLE IF NOT EXISTS promoters (
    id INTEGER PRIMARY KEY,
    account TEXT NOT NULL,
    ref_id TEXT NOT NULL,
    unit TEXT NOT NULL,
    status TEXT NOT NULL DEFAULT 'active',
    balance INTEGER NOT NULL DEFAULT 0,
    created_at TEXT NOT NULL,
    UNIQUE (account, ref_id)
);
CREATE TABLE IF NOT EXISTS leads (
    id INTEGER PRIMARY KEY,
    account TEXT NOT NULL,
    email TEXT,
    uid TEXT,
    promoter_id INTEGER NOT NULL,
    created_at TEXT NOT NULL,
    customer_since TEXT,
    cancelled_at TEXT,
    plan_name TEXT
);
CREATE UNIQUE INDEX IF NOT EXISTS leads_email ON leads (account, email COLLATE NOCASE);
CREATE UNIQUE INDEX IF NOT EXISTS leads_uid ON leads (account, uid);
-- The event_ids in use; a sale and a refund can have the same event_id.
CREATE TABLE IF NOT EXISTS events (
    account TEXT NOT NULL,
    type TEXT NOT NULL,
    event_id TEXT NOT NULL,
    PRIMARY KEY (account, type, event_id)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS commissions (
    id INTEGER PRIMARY KEY,
    account TEXT NOT NULL,
    event_id TEXT,
    lead_id INTEGER,
    promoter_id INTEGER NOT NULL,
    status TEXT NOT NULL,
    commission_type TEXT NOT NULL,
    sale_amount INTEGER NOT NULL,
    original_sale_amount INTEGER NOT NULL,
    original_sale_currency TEXT NOT NULL,
    amount INTEGER NOT NULL,
    unit TEXT NOT NULL,
    is_paid INTEGER NOT NULL DEFAULT 0,
    tier INTEGER NOT NULL DEFAULT 1,
    created_at TEXT NOT NULL,
    status_updated_at TEXT NOT NULL,
    -- The latest request when a call created the commission, for a listing that lags; NULL if a test added it.
    after_request INTEGER,
    -- A deleted commission stays for the audit and is no longer listed.
    destroyed_at TEXT
);
CREATE INDEX IF NOT EXISTS commissions_created ON commissions (account, created_at, id) WHERE destroyed_at IS NULL;
CREATE INDEX IF NOT EXISTS commissions_event ON commissions (account, event_id COLLATE NOCASE);
CREATE INDEX IF NOT EXISTS commissions_lead ON commissions (lead_id);
-- The calls that approve, deny or delete commissions. ids and failing are JSON lists of commissions.
CREATE TABLE IF NOT EXISTS batches (
    id INTEGER PRIMARY KEY,
    account TEXT NOT NULL,
    action TEXT NOT NULL,
    status TEXT NOT NULL DEFAULT 'pending',
    ids TEXT NOT NULL,
    failing TEXT NOT NULL,
    failing_message TEXT NOT NULL,
    processed_count INTEGER NOT NULL DEFAULT 0,
    failed_count INTEGER NOT NULL DEFAULT 0,
    processing_errors TEXT NOT NULL DEFAULT '[]',
    polls INTEGER NOT NULL DEFAULT 0,
    end_status TEXT NOT NULL,
    end_after INTEGER NOT NULL,
    started_at REAL NOT NULL,
    created_at TEXT NOT NULL,
    updated_at TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS batches_status ON batches (status);
-- The refunds that the API recorded, to compare with the client's ledger.
CREATE TABLE IF NOT EXISTS refunds (
    id INTEGER PRIMARY KEY,
    account TEXT NOT NULL,
    event_id TEXT NOT NULL,
    sale_event_id TEXT,
    amount_cents INTEGER NOT NULL,
    original_amount INTEGER NOT NULL,
    currency TEXT NOT NULL,
    quantity INTEGER NOT NULL,
    lead_id INTEGER NOT NULL,
    commission_id INTEGER NOT NULL,
    recorded_at TEXT NOT NULL
);
-- Every request to the API. Headers and body are stored only for refunds; status is NULL if no response was sent.
CREATE TABLE IF NOT EXISTS requests (
    id INTEGER PRIMARY KEY,
    account TEXT,
    method TEXT NOT NULL,
    path TEXT NOT NULL,
    query TEXT NOT NULL,
    status INTEGER,
    at REAL NOT NULL,
    received_at TEXT NOT NULL,
    headers TEXT,
    body BLOB
);
CREATE INDEX IF NOT EXISTS requests_path ON requests (path, status);
CREATE INDEX IF NOT EXISTS requests_get ON requests (account, path) WHERE method = 'GET';
