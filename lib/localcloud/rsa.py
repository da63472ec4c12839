"""RSA keys for createSSHKeyPair: made here, as Python's library has nothing that makes them."""

import base64
import math
import secrets

E = 65537
SMALL_PRIMES = [p for p in range(3, 2000, 2) if all(p % d for d in range(3, math.isqrt(p) + 1, 2))]


def new_key(bits: int = 2048) -> tuple[str, str]:
    """Return a new key: the private half as PEM, the public half as a line for authorized_keys."""
    p, q = _prime(bits // 2), _prime(bits // 2)
    n, d = p * q, pow(E, -1, math.lcm(p - 1, q - 1))
    numbers = (0, n, E, d, p, q, d % (p - 1), d % (q - 1), pow(q, -1, p))
    body = b"".join(_der(2, _integer(x)) for x in numbers)
    text = base64.encodebytes(_der(0x30, body)).decode()
    blob = b"".join(_counted(x) for x in (b"ssh-rsa", _integer(E), _integer(n)))
    private = f"-----BEGIN RSA PRIVATE KEY-----\n{_folded(text)}-----END RSA PRIVATE KEY-----\n"
    return private, f"ssh-rsa {base64.b64encode(blob).decode()}"


def _prime(bits: int) -> int:
    while True:
        # Both top bits set, so that the product of two has its full length.
        n = secrets.randbits(bits) | 3 << bits - 2 | 1
        if all(n % p for p in SMALL_PRIMES) and math.gcd(n - 1, E) == 1 and _is_prime(n):
            return n


def _is_prime(n: int, rounds: int = 8) -> bool:
    """Test by Miller and Rabin; eight rounds are plenty for a random number of this length."""
    zeros = ((n - 1) & (1 - n)).bit_length() - 1
    odd = (n - 1) >> zeros
    return all(_passes(n, secrets.randbelow(n - 3) + 2, odd, zeros) for _ in range(rounds))


def _passes(n: int, base: int, odd: int, zeros: int) -> bool:
    x = pow(base, odd, n)
    return x in (1, n - 1) or any((x := x * x % n) == n - 1 for _ in range(zeros - 1))


def _integer(x: int) -> bytes:
    return x.to_bytes(x.bit_length() // 8 + 1, "big")


def _der(tag: int, content: bytes) -> bytes:
    size = len(content)
    if size < 128:
        return bytes([tag, size]) + content
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(length)]) + length + content


def _counted(data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + data


def _folded(text: str) -> str:
    joined = text.replace("\n", "")
    return "".join(f"{joined[i : i + 64]}\n" for i in range(0, len(joined), 64))
