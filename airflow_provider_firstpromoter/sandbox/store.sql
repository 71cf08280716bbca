CREATE TABLE IF NOT EXISTS promoters (
    id INTEGER PRIMARY KEY,
    account TEXT NOT NULL,
    ref_id TEXT NOT NULL,
    unit TEXT NOT NULL,
    status TEXT NOT NULL DEFAULT 'active',
    balance INTEGER NOT NULL DEFAULT 0,
    -- The promoter who earns a tier more of each sale.
    parent_id INTEGER,
    created_at TEXT NOT NULL,
    UNIQUE (account, ref_id)
);
CREATE TABLE IF NOT EXISTS leads (
    id INTEGER PRIMARY KEY,
    account TEXT NOT NULL,
    email TEXT,
    uid TEXT,
    promoter_id INTEGER NOT NULL,
    -- The promoter with whom the lead's own shares each commission.
    split_promoter_id INTEGER,
    created_at TEXT NOT NULL,
    customer_since TEXT,
    cancelled_at TEXT,
    plan_name TEXT
);
-- Two customers can share an address.
CREATE UNIQUE INDEX IF NOT EXISTS leads_email ON leads (account, email COLLATE NOCASE, coalesce(uid, ''));
CREATE UNIQUE INDEX IF NOT EXISTS leads_uid ON leads (account, uid);
-- What the tracking calls recorded, to compare with the client's ledger. recorded_at is NULL where only the event_id is
-- used up. A sale and a refund can have the same event_id; sign-ups and cancellations have none.
CREATE TABLE IF NOT EXISTS events (
    id INTEGER PRIMARY KEY,
    account TEXT NOT NULL,
    kind TEXT NOT NULL,
    event_id TEXT,
    sale_event_id TEXT,
    plan TEXT,
    amount_cents INTEGER,
    original_amount INTEGER,
    currency TEXT,
    quantity INTEGER,
    lead_id INTEGER,
    recorded_at TEXT,
    UNIQUE (account, kind, event_id)
);
CREATE TABLE IF NOT EXISTS commissions (
    id INTEGER PRIMARY KEY,
    account TEXT NOT NULL,
    -- The row in events; NULL if a test added the commission.
    event INTEGER,
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
    is_split INTEGER NOT NULL DEFAULT 0,
    tier INTEGER NOT NULL DEFAULT 1,
    created_at TEXT NOT NULL,
    status_updated_at TEXT NOT NULL,
    -- The latest request when a call created the commission, for a listing that lags; NULL if a test added it.
    after_request INTEGER
);
CREATE INDEX IF NOT EXISTS commissions_created ON commissions (account, created_at, id);
CREATE INDEX IF NOT EXISTS commissions_event ON commissions (account, event_id COLLATE NOCASE);
CREATE INDEX IF NOT EXISTS commissions_lead ON commissions (lead_id);
CREATE INDEX IF NOT EXISTS commissions_of_event ON commissions (event);
-- Commissions of parent promoters that are made once that time and request have passed, as JSON objects.
CREATE TABLE IF NOT EXISTS later_commissions (
    id INTEGER PRIMARY KEY,
    due_at REAL NOT NULL,
    due_request INTEGER NOT NULL,
    commission TEXT NOT NULL
);
-- The calls that deny commissions. ids and failing are JSON lists of commissions.
CREATE TABLE IF NOT EXISTS batches (
    id INTEGER PRIMARY KEY,
    account TEXT NOT NULL,
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
-- Every request to the API. Headers and body are stored only for the tracking calls; status is NULL if no response was sent.
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
