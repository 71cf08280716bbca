"""Currencies, by the rules that FirstPromoter publishes."""

from __future__ import annotations

from fractions import Fraction

#: Amounts in these are whole units; in every other currency, also those of three decimals, they are hundredths.
#: Source: ISO 4217, the currencies of exponent 0.
ZERO_DECIMAL_CURRENCIES = frozenset("BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF".split())

#: What one unit is worth in US dollars: made up, fixed, and easy to reckon with.
DOLLARS_PER_UNIT = {
    "USD": Fraction(1),
    **{code: Fraction(5, 4) for code in "EUR GBP CHF".split()},
    **{code: Fraction(3, 4) for code in "AUD CAD NZD SGD".split()},
    **{code: Fraction(1, 5) for code in "BRL CNY ILS MXN MYR PLN RON AED SAR QAR PEN".split()},
    **{code: Fraction(1, 10) for code in "CZK DKK HKD NOK SEK TRY UAH ZAR THB TWD PHP EGP MAD".split()},
    **{code: Fraction(1, 100) for code in "INR HUF MGA ARS COP KES NGN PKR RUB IDR".split()},
    **{code: Fraction(3) for code in "BHD KWD OMR JOD TND IQD LYD".split()},
    **{code: Fraction(1, 100) for code in ZERO_DECIMAL_CURRENCIES},
}


def convert(amount: int, currency: str, to_currency: str) -> int:
    """
    :param amount: in the smallest unit that FirstPromoter counts in that currency
    :param currency: of the amount, a key of :data:`IN_DOLLARS`
    :param to_currency: the currency wanted, likewise
    :return: the amount in the other currency's counting unit, rounded half to even
    """
    if currency == to_currency:
        return amount
    dollars = Fraction(amount, _minor_units(currency)) * DOLLARS_PER_UNIT[currency]
    return round(dollars / DOLLARS_PER_UNIT[to_currency] * _minor_units(to_currency))


def percentage_of(amount: int, percent: int) -> int:
    """:return: the commission on an amount, rounded half to even"""
    return round(Fraction(amount * percent, 100))


def _minor_units(currency: str) -> int:
    return 1 if currency in ZERO_DECIMAL_CURRENCIES else 100
