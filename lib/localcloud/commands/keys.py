"""Commands for SSH keys and stored user data."""

import base64
import hashlib
from typing import Any
from urllib.parse import unquote

from ..state.cloud import Cloud
from ..state.refusals import ApiError, broken, invalid
from ..state.registry import command
from ..state.rows import Row


@command("createSSHKeyPair")
def create_key(cloud: Cloud, name: str) -> dict:
    """Make a key and answer with its private half."""
    _check_name(cloud, name)
    private, public = _new_key()
    return _add(cloud, name, public) | {"privatekey": private}


def _new_key() -> tuple[str, str]:
    """Return an RSA key: the private half as PEM, the public one as a line of authorized_keys."""
    from cryptography.hazmat.primitives import serialization as forms  # slow to import
    from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key

    key, pem = generate_private_key(65537, 2048), forms.PrivateFormat.TraditionalOpenSSL
    private = key.private_bytes(forms.Encoding.PEM, pem, forms.NoEncryption())
    line = (forms.Encoding.OpenSSH, forms.PublicFormat.OpenSSH)
    return private.decode(), key.public_key().public_bytes(*line).decode()


@command("registerSSHKeyPair")
def register_key(cloud: Cloud, name: str, publickey: str) -> dict:
    """Keep a public key."""
    _check_name(cloud, name)
    blob = _blob(publickey)
    if any(row["public"].split()[1] == publickey.split()[1] for row in cloud.mine("sshkeypair")):
        raise invalid(f"A key pair with name '{name}' already exists for this public key.")
    return _add(cloud, name, publickey, blob)


def _check_name(cloud: Cloud, name: str) -> None:
    if any(row["name"] == name for row in cloud.mine("sshkeypair")):
        raise invalid(f"A key pair with name '{name}' already exists.")


def _blob(public: str) -> bytes:
    try:
        kind, text = public.split()[:2]
        blob = base64.b64decode(text, validate=True)
    except ValueError:
        raise invalid("Public key is invalid") from None
    if blob[4 : 4 + len(kind)] != kind.encode():
        raise invalid("Public key is invalid")
    return blob


def _add(cloud: Cloud, name: str, public: str, blob: bytes = b"") -> Row:
    digest = hashlib.md5(blob or _blob(public), usedforsecurity=False).hexdigest()
    fingerprint = ":".join(digest[i : i + 2] for i in range(0, 32, 2))
    own = {"public": public, "fingerprint": fingerprint} | cloud.ownership()
    return cloud.state.add("sshkeypair", name=name, **own)


@command("deleteSSHKeyPair")
def delete_key(cloud: Cloud, name: str) -> bool:
    """Forget a key."""
    cloud.state.remove("sshkeypair", named_key(cloud, name))
    return True


def named_key(cloud: Cloud, name: str) -> Row:
    """Return the key of that name; refuse an unknown name."""
    for row in cloud.mine("sshkeypair"):
        if row["name"] == name:
            return row
    raise invalid(f"A key pair with name '{name}' does not exist for this account.")


def encrypted(cloud: Cloud, machine: Row, password: str) -> str | None:
    """Return a password encrypted with the machine's first SSH key, None without an RSA key."""
    from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15  # slow to import
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
    from cryptography.hazmat.primitives.serialization import load_ssh_public_key

    for name in machine.get("keypairs", [])[:1]:
        key = load_ssh_public_key(named_key(cloud, name)["public"].encode())
        if isinstance(key, RSAPublicKey):
            return base64.b64encode(key.encrypt(password.encode(), PKCS1v15())).decode()
    return None


@command("registerUserData")
def register_userdata(cloud: Cloud, name: str, userdata: str, params: str | None = None) -> dict:
    """Keep user data."""
    data = checked_userdata(cloud, userdata)
    for row in cloud.mine("userdata"):
        if row["name"] == name:
            raise invalid(f"A userdata with name {name} already exists for this account.")
        if row["userdata"] == data:
            why = "with same content already exists for this account."
            raise invalid(f"Userdata {row['name']} {why}")
    return cloud.state.add("userdata", name=name, userdata=data, params=params, **cloud.ownership())


def checked_userdata(cloud: Cloud, text: str) -> str:
    """Return decoded user data; refuse a text that is too long or not base64."""
    text = unquote(text) if "%" in text else text
    limit = cloud.dialect.userdata_post if cloud.method == "POST" else cloud.dialect.userdata_get
    if len(text) >= limit:
        raise invalid(cloud.dialect.userdata_too_long.format(method=cloud.method))
    most = cloud.setting("userdata")["longest"]
    if len(text) > most:
        raise invalid(f"User data has exceeded configurable max length : {most}")
    try:
        data = base64.b64decode(text, validate=True)
    except ValueError:
        raise invalid("User data is not base64 encoded.") from None
    if len(data) > (cloud.dialect.userdata_decoded or len(data)):
        raise invalid(cloud.dialect.userdata_too_long)
    return text


@command("deleteUserData")
def delete_userdata(cloud: Cloud, id: Any) -> bool:
    """Forget stored user data."""
    row = cloud.state.get("userdata", id)
    if row is None:
        was, me = cloud.state.trace_of("userdata", id).get("was"), cloud.account()["name"]
        raise invalid(
            f"A UserData with id '{was}' does not exist for account {me} in specified domain id"
        )
    if any(m.get("userdataid") == id for m in cloud.rows("virtualmachine")):
        raise broken(f"Userdata {row['name']} cannot be removed as it is linked to active VMs")
    cloud.state.remove("userdata", row)
    return True


def stored_userdata(cloud: Cloud, text: str | None, id: Any) -> tuple[str | None, Any]:
    """Return the user data of a call, or of the stored id in it; refuse both together."""
    if text and id is not None:
        raise ApiError(
            431, "Both userdata and userdata ID inputs are not allowed, please provide only one"
        )
    if id is not None:
        return cloud.find("userdata", id)["userdata"], id
    return (checked_userdata(cloud, text) if text else text), None
