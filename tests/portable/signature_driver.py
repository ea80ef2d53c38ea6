# SPDX-License-Identifier: MIT
"""Verifies the signatures of a case file with the code of boards and prints the numbers of the good ones.

A line is a case: key type, scheme, and public key, message and signature in hex.  Runs on both interpreters.
"""

import json
from binascii import unhexlify

from agent.crypto import p256, p256_comb
from agent.crypto.verify import Whole, verify
from agent.crypto.verify import verify_p256 as with_comb


def main(path):
    good = []
    with open(path) as file:
        for number, line in enumerate(file):
            key_type, scheme, public, message, signature = json.loads(line)
            public, message, signature = unhexlify(public), Whole(unhexlify(message)), unhexlify(signature)
            verdict = verify(key_type, scheme, public, message, signature)
            if scheme == "ecdsa-sha2-nistp256" and number % 4 == 0 and p256.is_point(public):
                pinned = with_comb(public, message, signature, p256_comb.make(public))
                if key_type in ("ecdsa", "ecdsa-sha2-nistp256") and pinned is not verdict:
                    raise ValueError("the comb says otherwise in line %d" % number)
            if verdict is True:
                good.append(number)
            elif verdict is not False:
                raise ValueError("no verdict in line %d" % number)
    print(json.dumps(good))
