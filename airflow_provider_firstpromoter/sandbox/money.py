"""Currency conversion by the rules that FirstPromoter publishes."""

from __future__ import annotations

from fractions import Fraction

#: Currencies whose amounts are whole units. In every other currency, also those with three decimals, amounts are
#: hundredths. Source: ISO 4217, the currencies with exponent 0.
ZERO_DECIMAL_CURRENCIES = frozenset("BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF".split())

#: The value of one unit in US dollars. The rates are invented and fixed, so that tests can compute with them easily.
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
    Convert an amount to another currency.

    :param amount: the amount, in the smallest unit that FirstPromoter uses for its currency
    :param currency: the currency of the amount, a key of :data:`DOLLARS_PER_UNIT`
    :param to_currency: the currency to convert to, a key of :data:`DOLLARS_PER_UNIT`
    :return: the amount in the smallest unit of the other currency, rounded half to even
    """
    if currency == to_currency:
        return amount
    dollars = Fraction(amount, _minor_units(currency)) * DOLLARS_PER_UNIT[currency]
    return round(dollars / DOLLARS_PER_UNIT[to_currency] * _minor_units(to_currency))


def percentage_of(amount: int, percent: int) -> int:
    """Return that percentage of an amount, rounded half to even."""
    return round(Fraction(amount * percent, 100))


def _minor_units(currency: str) -> int:
    return 1 if currency in ZERO_DECIMAL_CURRENCIES else 100
