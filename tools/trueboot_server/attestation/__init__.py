# SPDX-License-Identifier: MIT
"""Attestation: proof that a device's key was made in a TPM 2.0, and cannot leave it.  The server needs no TPM library.

What proves what:

1. The endorsement key (EK) is a real TPM's: its certificate chains to a maker that the operator trusts (`endorsement`).
2. An attestation key (AK) signs that the device's key has the attributes that it has, over our nonce (`statement`).
3. The AK is in the same TPM as the EK: only that TPM can open a credential made for both (`credential`, `sessions`).
   Restricted as it is, the AK signs nothing that the TPM did not make itself; so 2 is the TPM's own word.
4. The certificate request has that very key, and is bound by the nonce to the device and to no other request.

Sources: TPM 2.0 Library, part 1 (24, credential protection; 31, attestation) and part 2 (structures); TCG EK Credential
Profile 2.x; TCG "TPM 2.0 Keys for Device Identity and Attestation".
"""

from .errors import BadAttestation

__all__ = ["BadAttestation"]
