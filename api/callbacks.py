"""Where a webhook may go: the judgement of a `callback_url` and of the addresses that its host has. Pure."""

from collections.abc import Collection
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from pydantic import HttpUrl

from api.errors import Refusal, RefusalCode
from api.settings import ApiSettings

_GLOBAL_UNICAST = ip_network("2000::/3")
_SIX_TO_FOUR = ip_network("2002::/16")  # an IPv4 address in disguise, which may be a private one
_NAT64 = ip_network("64:ff9b::/96")  # likewise, and the only way out of a network without IPv4
_METADATA = (
    ip_network("168.63.129.16/32"),  # of virtual machines on Azure: looks public, and is not
    ip_network("192.0.0.0/24"),  # on Oracle's cloud; global to Python before 3.12.4
)


def check_callback(url: HttpUrl, settings: ApiSettings) -> None:
    """Refuses a URL that no webhook would be sent to, as far as the text tells; names are not resolved here.

    Raises:
        Refusal: `invalid_option`.
    """
    if settings.webhook_secret is None:
        raise _refused("there are no webhooks here, because the operator has set no STEMJOB_WEBHOOK_SECRET")
    if url.username is not None or url.password is not None:
        raise _refused("it must not hold a user name or password")
    host = host_of(url)
    if host in settings.callback_hosts:
        return
    if url.scheme != "https":
        raise _refused("it must begin with https://")
    try:
        literal = ip_address(host)
    except ValueError:  # a name
        return
    if not is_public(literal):
        raise _refused(f"{host} is not a public address")


def host_of(url: HttpUrl) -> str:
    """The host as resolvers and certificates know it: no brackets around IPv6, no dot at the end."""
    return (url.host or "").strip("[]").rstrip(".")


def all_public(addresses: Collection[str]) -> bool:
    """Whether every one of these addresses is a public one."""
    return all(is_public(ip_address(address.partition("%")[0])) for address in addresses)


def is_public(address: IPv4Address | IPv6Address) -> bool:
    """Whether an address leads to the internet, and nowhere else: no private, local, multicast address."""
    if isinstance(address, IPv6Address):
        if address in _NAT64:
            return is_public(IPv4Address(int(address) & 0xFFFFFFFF))
        return address.is_global and address in _GLOBAL_UNICAST and address not in _SIX_TO_FOUR
    return (
        address.is_global
        and not address.is_multicast
        and not any(address in network for network in _METADATA)
    )


def _refused(why: str) -> Refusal:
    return Refusal(RefusalCode.INVALID_OPTION, f"Invalid callback_url: {why}.")
