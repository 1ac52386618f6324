"""The functions that expressions have in Kubernetes: the standard ones, and upstream's extension libraries."""

from kybern.cel.functions import table
from kybern.cel.libraries.authz import AUTHZ
from kybern.cel.libraries.format import FORMAT
from kybern.cel.libraries.ip import IP
from kybern.cel.libraries.lists import LISTS
from kybern.cel.libraries.optional import OPTIONAL
from kybern.cel.libraries.quantity import QUANTITY
from kybern.cel.libraries.regex import REGEX
from kybern.cel.libraries.semver import SEMVER
from kybern.cel.libraries.sequences import SEQUENCES
from kybern.cel.libraries.sets import SETS
from kybern.cel.libraries.strings import STRINGS
from kybern.cel.libraries.url import URL
from kybern.cel.standard import STANDARD

KUBERNETES = table(
    (STANDARD, OPTIONAL, STRINGS, LISTS, SEQUENCES, SETS, REGEX, URL, QUANTITY, IP, FORMAT, SEMVER, AUTHZ)
)
