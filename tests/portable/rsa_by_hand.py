# SPDX-License-Identifier: MIT
"""An RSA-2048 key of nobody, PKCS #8, and what OpenSSL signs with it (PKCS #1 v1.5, SHA-256) over `dev1`."""

import binascii

from agent.wire import pem
from agent.wire.url import quote

DER = binascii.a2b_base64(
    "MIIEvwIBADANBgkqhkiG9w0BAQEFAASCBKkwggSlAgEAAoIBAQD0kd0NyBEeagKipbaz5CsOJXT3SsYi3QXRRdp/7lc6V4aD0dLg"
    "Ejhel1BYLW1sWZGVCWOVpW3x45MblJ3DI8HitYXQXYTSGLnY5cG5yfcGtkXWgVCZCLM8xRreA57XLz0Ca0p7NrAMuVQKYOXmhY7X"
    "IoM3as0rYWRc+GUo7oKiazrY1a/+vUt88KGAsa+/zrxeO59Gg8xkhOTFjUlKf846Pa5bBTZbkAGcz3rpd5tXHC4jz2RmW+0/EVoc"
    "aYhfclfH6cQx+rCb8R2DNGLJzoA1C3jNb+jYqznwSARPBeblN1J3fcI3UMfxs/iux9IF1EoyQdzCW4ir6X7K6+mGt88JAgMBAAEC"
    "ggEAA7+imD37STCNxslscfhq0oYvc0ThoZIqryj3buOL0biatrWGGmodFBIUqK1VkoYS7apdrOMCuuTmkdMm0eFf7OYkXWu5h/Da"
    "FGF9JShb0W4ExwNnZVkVSjapMULz8c9nC3zygM33R9KlX51ZmL1uUYzVXwmTiHkvLR+fiU+SkAO2EQmppGSneODLrwe8kkoeO+2B"
    "6EsvSJnNIsVydI95NDeEVMzxlPwWTSNDlrEH39TCDE5AFnmHp4sVd8JkrArQDSQ/wKgQ4GLBA1mScNllIAGZSGB5u+JSSuQrE/mG"
    "9JyiD54u2CJhBGdCaKlS+ga+gA7NDjh7ny/3HCKh4d1VUwKBgQD7UmEUeZSwaKNsdA5cePiMJw9W5Ln+SqbRfhVKwuIz85c2mZxm"
    "dVStXMVTsi+F1aWyfEnQcuLmXKm9g6SEKWciHtYLwonDQGEOEIuLREHpfdnjR/XTv6DH5y4aYryJWRkndaMxg+oZUQuUQtb9zEg3"
    "rZBUDXgPst+5eOFQXLvSewKBgQD5H08ZJgXaRk/eD7duy0/f7NJckOmkXBuP4kVZIMzwHOzsJHosDAjLl3AJaNHxWg3lh5bOw8kE"
    "knKRS7ZAoLQnRdzTmeuhbHorM06Mvgp+Jb4wenPPbmcKIPCip7RLSjc6G2eCOIFGk1W9g1Pug0VYBCu1C6gBJf9fm8J4aojfSwKB"
    "gQDECBK/NMJ9A3GNk8zr5lQAhisZ3RkSt8n9GDqlcPOeED//j7wF0zk0bGtiiFc3LlmrqfStih9gDiE8OKWnjN/sJl9RFvH8AYhy"
    "vwcJnzlGVisRdDzUaOGRa8pzPFbRT1UmiUS8x6dfDe9ZOvWVS7V88H3mggcHP7/wXNBqrZq3ZwKBgQDd2S3dXWj02oyhWimmNtQo"
    "u4MR/9KxFX1OAthy6KzYX0n1eP57XzQt6exR1NCxN9sMPlTkSKIouingjiX9I5+LIcHnhji6Bho9gnE/ELXTZNUb4tBjNxP3hyIE"
    "F4iNS8gmrOTeqGcnbGl8XQlPbANCwGQT1A+HBkmG4PSru2OsRQKBgQDJTYsmfYa5Lto1uPV9Eo77OE7bwMVuvawaeIwrbLCcr1BN"
    "wR0yUBGggPSxXRiKz5qdLI/uu5mKZXFfpzVlAgnttqNfEM104rNJV7TGUu4qmOD2uxpI4jSfEu7LIX/bRqaFYCaUMI6j8jxAzhLB"
    "J+g6GNhS7jBQ0ypWkygw7QRvCw=="
)
SIGNATURE = binascii.a2b_base64(
    "xX5heWvjUz+3qA73Fy23oMm860fn8h0u5OYH4QAgL5cig5Y7aJO4Qe3HdRia/tXIac/UA8gDBk+G9qgDeecFcu8wRg0I2K/gtATn"
    "r10g7Q484dpnLz13FxqV73ftoxDs5JT2afJzdOLj1k/YJv5C8lKI66W56PCzdDUq+xpcMe/wR6s+XqP9Xqx/HPQ0flTaYVbfsXgy"
    "vBsYC8l7jV3i7Dx3mKBGtozHdLKSNaCx83iEvV5aVVjQQ8BzJNvFTDEckMjy/h9sOEv6cO6RkqC7RglECRA1JbEHrObbITj3EchF"
    "NRzMaXLuG046OVw1ae7q9oXFwGOQkrLF/2740Hppqw=="
)
PEM = pem.encode("PRIVATE KEY", DER)
TOKEN_QUOTED = quote(binascii.b2a_base64(SIGNATURE).decode().strip())
