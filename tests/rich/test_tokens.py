"""A validation token is believed only when Microsoft's change tracking speaks to us."""

from __future__ import annotations

import random
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests
from cryptography.hazmat.primitives.asymmetric import rsa

from outlook_lake.looks.rich.opening import Unusable
from outlook_lake.looks.rich.tokens import TOKEN_REASONS, SigningKeys, TokenCheck
from tests.support.rich import Issuer

TENANT = "11111111-2222-4333-8444-555555555555"
OTHER = "99999999-2222-4333-8444-555555555555"
CLIENT = "aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee"
STRANGER = rsa.generate_private_key(65537, 2048)
ISSUER = Issuer(TENANT, CLIENT)


def check_of(issuer: Issuer, cloud: str = "global", again_s: float = 0.0) -> TokenCheck:
    return TokenCheck(SigningKeys(issuer.document, again_s), TENANT, CLIENT, cloud)


def told(token: str | None, cloud: str = "global") -> str | None:
    """Why a token is refused; None when it is believed."""
    try:
        check_of(ISSUER, cloud).check(token)
    except Unusable as unusable:
        return unusable.reason
    return None


@pytest.mark.parametrize("version", [1, 2])
def test_tokens_of_both_versions_are_believed(version: int):
    assert told(ISSUER.token(version)) is None


NOW = int(time.time())


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"aud": "00000003-0000-0000-c000-000000000000"}, "token_other_audience"),
        ({"aud": [CLIENT]}, "token_other_audience"),
        ({"tid": OTHER}, "token_other_tenant"),
        ({"iss": f"https://sts.windows.net/{OTHER}/"}, "token_other_issuer"),
        ({"iss": f"https://sts.windows.net.example/{TENANT}/"}, "token_other_issuer"),
        ({"iss": f"https://login.microsoftonline.us/{TENANT}/v2.0"}, "token_other_issuer"),
        ({"exp": NOW - 600, "nbf": NOW - 7200}, "token_expired"),
        ({"nbf": NOW + 900}, "token_not_yet"),
        ({"exp": "soon"}, "token_malformed"),
        ({"appid": CLIENT}, "token_other_publisher"),
        ({"azp": CLIENT}, "token_other_publisher"),
        ({"drop": ("appid",)}, "token_other_publisher"),
        ({"drop": ("exp",)}, "token_malformed"),
        ({"drop": ("tid",)}, "token_other_tenant"),
        ({"key": STRANGER}, "token_forged"),
        ({"kid": "nobody's", "key": STRANGER}, "token_unknown_key"),
        ({"algorithm": "HS256"}, "token_malformed"),
    ],
)
def test_a_token_that_differs_in_one_thing_is_refused_for_it(changed: dict[str, Any], reason: str):
    assert told(ISSUER.token(1, **changed)) == reason


@pytest.mark.parametrize(("claim", "off"), [("exp", -100), ("nbf", 100)])
def test_clocks_may_differ_by_minutes(claim: str, off: int):
    assert told(ISSUER.token(2, **{claim: int(time.time()) + off})) is None


def test_a_national_cloud_has_its_own_issuers():
    token = ISSUER.token(2, iss=f"https://login.microsoftonline.us/{TENANT}/v2.0")
    assert told(token, "us-gov-l4") is None
    assert told(ISSUER.token(2), "us-gov-l4") == "token_other_issuer"


@pytest.mark.parametrize("text", [None, "", "x", "a.b.c", "..", "." * 5000, "[" * 8000, "\ud800"])
def test_what_is_no_token_is_refused_in_a_word(text: str | None):
    assert told(text) in ("no_token", "token_malformed")


def test_a_new_signing_key_is_fetched_when_a_token_names_it():
    issuer = Issuer(TENANT, CLIENT)
    check = check_of(issuer)
    check.check(issuer.token())
    issuer.rotate("second")
    check.check(issuer.token())
    check.check(issuer.token(2, kid="first"))  # still published


def test_threads_that_come_at_once_wait_for_one_fetch():
    fetched = []

    def slowly() -> bytes:
        fetched.append(1)
        time.sleep(0.1)
        return ISSUER.document()

    check = TokenCheck(SigningKeys(slowly), TENANT, CLIENT, "global")
    with ThreadPoolExecutor(4) as threads:
        for waiting in [threads.submit(check.check, ISSUER.token(v)) for v in (1, 2, 1, 2)]:
            waiting.result()
    assert len(fetched) == 1


def test_unknown_key_ids_cause_one_fetch_and_no_storm():
    fetched = []

    def fetch() -> bytes:
        fetched.append(1)
        return ISSUER.document()

    check = TokenCheck(SigningKeys(fetch, 30.0), TENANT, CLIENT, "global")
    check.check(ISSUER.token())
    for number in range(50):
        with pytest.raises(Unusable, match="token_unknown_key"):
            check.check(ISSUER.token(kid=f"made-up-{number}", key=STRANGER))
    assert len(fetched) == 1


@pytest.mark.parametrize(
    "answer", [b"", b"{}", b"[]", b'{"keys": [{"kty": "RSA", "kid": "first"}]}']
)
def test_a_login_host_that_answers_nonsense_leaves_tokens_unchecked(answer: bytes):
    check = TokenCheck(SigningKeys(lambda: answer, 0.0), TENANT, CLIENT, "global")
    with pytest.raises(Unusable) as unusable:
        check.check(ISSUER.token())
    assert unusable.value.reason in ("token_keys_unreachable", "token_unknown_key")


def test_known_keys_outlive_an_outage_of_the_login_host():
    answers = [ISSUER.document()]

    def fetch() -> bytes:
        if not answers:
            raise requests.ConnectionError
        return answers.pop()

    check = TokenCheck(SigningKeys(fetch, 0.0), TENANT, CLIENT, "global")
    check.check(ISSUER.token())
    with pytest.raises(Unusable, match="token_unknown_key"):
        check.check(ISSUER.token(kid="new", key=STRANGER))
    check.check(ISSUER.token(2))


def test_ten_thousand_mangled_tokens_raise_nothing_but_counted_reasons():
    dice = random.Random(3)
    check = check_of(ISSUER, again_s=1000.0)
    whole = ISSUER.token()
    seen = set()
    for _ in range(10_000):
        mangled = list(whole)
        for _ in range(dice.choice((1, 1, 1, 4))):
            at = dice.randrange(len(mangled))
            mangled[at : at + dice.randrange(3)] = [chr(dice.choice((46, 65, 95, 61, 233, 0xD800)))]
        try:
            check.check("".join(mangled))
        except Unusable as unusable:
            seen.add(unusable.reason)
    assert {"token_malformed", "token_forged"} <= seen <= set(TOKEN_REASONS)
