"""Tests of the read API: filters, sorting, pages and search."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_firstpromoter.sandbox import Sandbox

if TYPE_CHECKING:
    from tests.sandbox.client import Client

FIELDS = set(
    "id status commission_type event_id sale_amount original_sale_amount original_sale_currency amount unit is_paid "
    "is_split is_self_referral fraud_check tier created_at status_updated_at referral reward promoter_campaign".split()
)
DAY = datetime(2026, 1, 1, 12, tzinfo=UTC)


@pytest.fixture
def list_event_ids(sandbox: Sandbox, client: Client) -> Callable[..., str]:
    """Add ten commissions, r0 to r9, one each day from DAY on; return a function that lists their event_ids."""
    sandbox.add_lead(uid="u2", email="two@example.com", promoter="ref2")
    sandbox.add_commissions(
        {
            "uid": f"u{1 + i % 2}",
            "event_id": f"r{i}",
            "sale_amount": (-100 if i >= 5 else 100) * (i + 1),
            "status": ("pending", "approved", "denied")[i % 3],
            "created_at": DAY + timedelta(days=i),
        }
        for i in range(10)
    )

    def list_event_ids(**parameters: str) -> str:
        response = client("GET", "/company/commissions", params={"per_page": 100} | parameters)
        assert response.status_code == 200, response.text
        return " ".join(commission["event_id"] for commission in response.json())

    return list_event_ids


def test_commissions_without_sorting_list_latest_first(list_event_ids: Callable[..., str]) -> None:
    assert list_event_ids() == list_event_ids(**{"sorting[created_at]": "desc"}) == "r9 r8 r7 r6 r5 r4 r3 r2 r1 r0"
    assert list_event_ids(**{"sorting[created_at]": "asc"}) == "r0 r1 r2 r3 r4 r5 r6 r7 r8 r9"


def test_commissions_with_unknown_parameter_are_not_filtered(list_event_ids: Callable[..., str]) -> None:
    assert list_event_ids(status="pending", order="asc", ids="1") == list_event_ids()


@pytest.mark.parametrize(
    ("parameters", "found"),
    [
        ({"filters[status]": "pending"}, "r9 r6 r3 r0"),
        ({"filters[created_at][from]": "2026-01-08"}, "r9 r8 r7"),
        ({"filters[created_at][to]": "2026-01-03"}, "r2 r1 r0"),
        ({"filters[created_at][from]": "2026-01-03", "filters[created_at][to]": "2026-01-03"}, "r2"),
        ({"filters[created_at][from]": "2026-01-10T12:00:00Z"}, "r9"),
        ({"filters[created_at][from]": "2026-01-10T12:00:00.001Z"}, ""),
        ({"filters[created_at][to]": "2026-01-01T13:00:00+01:00"}, "r0"),
        ({"filters[sale_amount][from]": "400"}, "r4 r3"),
        ({"filters[sale_amount][to]": "-900"}, "r9 r8"),
        ({"filters[amount][from]": "-120", "filters[amount][to]": "20"}, "r5 r0"),
        ({"filters[refunded]": "true"}, "r9 r8 r7 r6 r5"),
        ({"filters[refunded]": "false"}, "r4 r3 r2 r1 r0"),
        ({"filters[promoter_id]": "2"}, "r9 r7 r5 r3 r1"),
        ({"filters[campaign_id]": "1", "filters[status]": "denied"}, "r8 r5 r2"),
        ({"filters[campaign_id]": "2"}, ""),
        ({"ids[]": ["1", "10", "99"]}, "r9 r0"),
        ({"q": "r3"}, "r3"),
        ({"q": "R3"}, "r3"),
        ({"q": "two@"}, "r9 r7 r5 r3 r1"),
        ({"q": "u2", "filters[status]": "pending"}, "r9 r3"),
        ({"q": "nobody"}, ""),
        ({"q": "%"}, ""),
        ({"page": 2, "per_page": 4}, "r5 r4 r3 r2"),
        ({"page": 3, "per_page": 4}, "r1 r0"),
        ({"page": 4, "per_page": 4}, ""),
    ],
)
def test_commissions_with_filter_search_or_page_return_matches(
    list_event_ids: Callable[..., str], parameters: dict[str, Any], found: str
) -> None:
    assert list_event_ids(**parameters) == found


def test_created_at_filter_with_date_ends_at_midnight(sandbox: Sandbox, list_event_ids: Callable[..., str]) -> None:
    for event_id, moment in (("last", DAY.replace(hour=0, day=5)), ("next", DAY.replace(hour=0, day=6))):
        sandbox.add_commission(uid="u1", event_id=event_id, sale_amount=-1, created_at=moment)
    assert (
        list_event_ids(**{"filters[created_at][from]": "2026-01-05", "filters[created_at][to]": "2026-01-05"})
        == "r4 last"
    )


def test_search_matches_by_prefix(sandbox: Sandbox, client: Client, list_event_ids: Callable[..., str]) -> None:
    sandbox.add_commission(uid="u1", event_id="r12", sale_amount=-1)
    assert list_event_ids(q="r1") == "r12 r1"


@pytest.mark.parametrize(("parameters", "count"), [({}, 20), ({"per_page": 100}, 100), ({"per_page": 500}, 100)])
def test_page_size_defaults_to_20_and_is_capped_at_100(
    sandbox: Sandbox, client: Client, parameters: dict[str, Any], count: int
) -> None:
    sandbox.add_commissions({"uid": "u1", "event_id": f"r{i}", "sale_amount": -1} for i in range(120))
    assert len(client("GET", "/company/commissions", params=parameters).json()) == count


@pytest.mark.parametrize(
    "parameters",
    [
        {"page": 0},
        {"page": 10**30},
        {"per_page": 0},
        {"per_page": "x"},
        {"filters[status]": "lost"},
        {"filters[created_at][from]": "yesterday"},
        {"filters[created_at][from]": "20260101"},
        {"filters[created_at][to]": "0.5"},
        {"filters[created_at][to]": "-1"},
        {"filters[amount][from]": str(10**30)},
        {"ids[]": "x"},
        {"sorting[created_at]": "sideways"},
    ],
)
def test_commissions_with_invalid_parameter_return_422_and_name_it(client: Client, parameters: dict[str, Any]) -> None:
    response = client("GET", "/company/commissions", params=parameters)
    assert response.status_code == 422
    assert list(response.json()["errors"]) == list(parameters)


def test_commissions_after_refund_list_negative_commission(client: Client) -> None:
    reward = client.refund("r1", "1000", currency="EUR").json()["reward"]
    [commission] = client("GET", "/company/commissions", params={"q": "r1"}).json()
    assert set(commission) == FIELDS
    same = ("id", "status", "event_id", "amount", "unit", "created_at")
    assert {name: commission[name] for name in same} == {name: reward[name] for name in same}
    assert (commission["sale_amount"], commission["original_sale_amount"]) == (-1250, -1000)
    assert commission["original_sale_currency"] == "EUR"
    assert commission["is_paid"] is False
    assert (commission["referral"]["uid"], commission["referral"]["email"]) == ("u1", "one@example.com")
    assert commission["promoter_campaign"]["promoter"]["name"] == "ref1"


def test_commissions_with_tiers_and_splits_share_one_event_id(sandbox: Sandbox, client: Client) -> None:
    sandbox.add_commission(uid="u1", event_id="r1", sale_amount=-1000, amount=-200)
    sandbox.add_commission(uid="u1", event_id="r1", sale_amount=-1000, amount=-50, tier=2, promoter="parent")
    sandbox.add_commission(uid="u1", event_id="r1", sale_amount=1000)
    listed = client("GET", "/company/commissions", params={"q": "r1"}).json()
    assert [(each["amount"], each["tier"]) for each in listed] == [(200, 1), (-50, 2), (-200, 1)]
    assert client.refund("r1").status_code == 409


def test_change_commission_updates_status_and_is_paid(sandbox: Sandbox, client: Client) -> None:
    number = client.refund("r1").json()["reward"]["id"]
    assert client.control("PATCH", f"/commissions/{number}", json={"status": "denied"}).status_code == 200
    sandbox.change_commission(number, is_paid=True)
    [commission] = client("GET", "/company/commissions").json()
    assert (commission["status"], commission["is_paid"]) == ("denied", True)
    assert commission["status_updated_at"] >= commission["created_at"]
    with pytest.raises(ValueError, match="no commission 99"):
        sandbox.change_commission(99, status="denied")


def test_promoters_with_page_and_per_page_return_that_page(sandbox: Sandbox, client: Client) -> None:
    sandbox.add_lead(uid="u2", promoter="ref2")
    pages = [client("GET", "/company/promoters", params={"per_page": 1, "page": page}).json() for page in (1, 2, 3)]
    assert [[promoter["default_ref_id"] for promoter in page] for page in pages] == [["ref1"], ["ref2"], []]


def test_read_api_of_one_account_hides_data_of_others(
    sandbox: Sandbox, client: Client, client_of: Callable[..., Client]
) -> None:
    client.refund("r1")
    other = client_of(sandbox, sandbox.settings.accounts[1])
    for path in ("/company/commissions", "/company/promoters"):
        assert other("GET", path).json() == []
    for parameters in ({"q": "r1"}, {"ids[]": "1"}):
        assert other("GET", "/company/commissions", params=parameters).json() == []


def test_commissions_at_deep_page_return_within_one_second(sandbox: Sandbox, client: Client) -> None:
    sandbox.add_commissions({"uid": "u1", "event_id": f"r{i}", "sale_amount": -100} for i in range(30_000))
    parameters = {"per_page": 100, "page": 300, "sorting[created_at]": "asc"}
    response = client("GET", "/company/commissions", params=parameters)
    assert [commission["event_id"] for commission in response.json()] == [f"r{i}" for i in range(29_900, 30_000)]
    assert response.elapsed < timedelta(seconds=1)
