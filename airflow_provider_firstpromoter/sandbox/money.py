"""Currencies, by the rules that FirstPromoter publishes."""

from __future__ import annotations

from fractions import Fraction

#: Amounts in these are whole units; in every other currency, also those of three decimals, they are hundredths.
#: Source: ISO 4217, the currencies of exponent 0.
ZERO_DECIMAL = frozenset("BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF".split())

#: What one unit is worth in US dollars: made up, fixed, and easy to reckon with.
IN_DOLLARS = {
    "USD": Fraction(1),
    **{code: Fraction(5, 4) for code in "EUR GBP CHF".split()},
    **{code: Fraction(3, 4) for code in "AUD CAD NZD SGD".split()},
    **{code: Fraction(1, 5) for code in "BRL CNY ILS MXN MYR PLN RON AED SAR QAR PEN".split()},
    **{code: Fraction(1, 10) for code in "CZK DKK HKD NOK SEK TRY UAH ZAR THB TWD PHP EGP MAD".split()},
    **{code: Fraction(1, 100) for code in "INR HUF MGA ARS COP KES NGN PKR RUB IDR".split()},
    **{code: Fraction(3) for code in "BHD KWD OMR JOD TND IQD LYD".split()},
    **{code: Fraction(1, 100) for code in ZERO_DECIMAL},
}


def converted(amount: int, currency: str, into: str) -> int:
    """
    :param amount: in the smallest unit that FirstPromoter counts in that currency
    :param currency: of the amount, a key of :data:`IN_DOLLARS`
    :param into: the currency wanted, likewise
    :return: the amount in the other currency's counting unit, rounded half to even
    """
    if currency == into:
        return amount
    dollars = Fraction(amount, _per_unit(currency)) * IN_DOLLARS[currency]
    return round(dollars / IN_DOLLARS[into] * _per_unit(into))


def share(amount: int, percent: int) -> int:
    """:return: the commission on an amount, rounded half to even"""
    return round(Fraction(amount * percent, 100))


def _per_unit(currency: str) -> int:
    return 1 if currency in ZERO_DECIMAL else 100
