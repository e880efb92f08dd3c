"""`reported`: a DSSE envelope around canonical JSON, signed by the board's own key.

The broker can withhold a report but never invent one. That the counter grows is for the receiver to check: it alone
knows the last one.
"""

from __future__ import annotations

import binascii

from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import FormatError, VerificationError
from securesystemslib.signer import CryptoSigner

from edgesync.trust.keys import key_from_hex
from edgesync.wire import codec
from edgesync.wire.errors import ForgedMessageError, MalformedMessageError, StaleMessageError
from edgesync.wire.ids import DeviceId
from edgesync.wire.messages import Reported

PAYLOAD_TYPE = "application/vnd.edgesync.reported+json"


def sign_reported(reported: Reported, signer: CryptoSigner) -> bytes:
    """The message for `d/<device>/reported`. Raises MessageTooLargeError past the codec's limits."""
    envelope = Envelope(codec.canonical(reported.to_dict()), PAYLOAD_TYPE, {})
    envelope.sign(signer)
    return codec.pack(codec.canonical(envelope.to_dict()))


def verify_reported(packed: bytes, device: DeviceId, public_hex: str) -> Reported:
    """What `device` says of itself, checked in this order: size, form, signature, payload, device.

    `device` is the topic's, `public_hex` the public key that the fleet repository declares for it.
    Raises MessageTooLargeError, MalformedMessageError, ForgedMessageError; StaleMessageError for another device's
    report; ConfigError for a `public_hex` that is no key.
    """
    envelope = _parse(codec.unpack(packed))
    key = key_from_hex(public_hex)
    try:
        envelope.verify([key], 1)
    except VerificationError as error:
        raise ForgedMessageError(f"reported of {device}: not signed by its key {key.keyid}") from error
    reported = Reported.from_dict(codec.parse_object(envelope.payload))
    if reported.device != device:
        raise StaleMessageError(f"reported of {device}: found a report of {reported.device}")
    return reported


def _parse(plain: bytes) -> Envelope:
    value = codec.parse_object(plain)
    try:
        envelope = Envelope.from_dict(value)
    except (KeyError, TypeError, ValueError, AttributeError, binascii.Error, FormatError) as error:
        raise MalformedMessageError(f"reported: found no DSSE envelope: {error!r}") from error
    if envelope.payload_type != PAYLOAD_TYPE:
        found = str(envelope.payload_type)[:60]
        raise MalformedMessageError(f"reported: found payloadType {found!r}, expected {PAYLOAD_TYPE!r}")
    return envelope
