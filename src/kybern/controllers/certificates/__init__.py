"""Certificate requests: approved where a rule says so (`approving`, `serving`), signed once approved (`signing`), cleared away
when nobody can want them any more (`cleaning`). What each signer accepts is in `requests`."""

from kybern.controllers.certificates.approving import CERTIFICATE_APPROVING
from kybern.controllers.certificates.cleaning import CERTIFICATE_CLEANING, POD_CERTIFICATE_CLEANING
from kybern.controllers.certificates.serving import CERTIFICATE_SERVING
from kybern.controllers.certificates.signing import certificate_signing

__all__ = [
    "CERTIFICATE_APPROVING",
    "CERTIFICATE_CLEANING",
    "CERTIFICATE_SERVING",
    "POD_CERTIFICATE_CLEANING",
    "certificate_signing",
]
