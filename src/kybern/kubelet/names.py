"""What a pod is called from inside: its hostname, its fully qualified name, /etc/hosts and its resolver's configuration."""

from dataclasses import replace

from kybern.api.core_v1 import Pod
from kybern.runtime.cri import DNSConfig

HOSTNAME_LENGTH_MAX = 63
FQDN_LENGTH_MAX = 64  # the kernel's, of a host name
SEARCHES_MAX = 32
NAMESERVERS_MAX = 3
SEARCH_LINE_LENGTH_MAX = 2048
SEARCHES_OMITTED = (
    "Search Line limits were exceeded, some search paths have been omitted, the applied search line is: {}"
)
NAMESERVERS_OMITTED = (
    "Nameserver limits were exceeded, some nameservers have been omitted, the applied nameserver line is: {}"
)
HOSTS_HEADER = "# Kubernetes-managed hosts file."
HOSTS_HEADER_HOST_NETWORK = "# Kubernetes-managed hosts file (host network)."
LOOPBACK_LINES = (
    "127.0.0.1\tlocalhost",
    "::1\tlocalhost ip6-localhost ip6-loopback",
    "fe00::0\tip6-localnet",
    "fe00::0\tip6-mcastprefix",
    "fe00::1\tip6-allnodes",
    "fe00::2\tip6-allrouters",
)


def hostname_and_domain(pod: Pod, cluster_domain: str) -> tuple[str, str]:
    """`web-0` and `web.default.svc.cluster.local`; no domain where the pod names no subdomain."""
    if pod.spec.hostname_override:
        return pod.spec.hostname_override, ""
    short = (pod.spec.hostname or pod.metadata.name or "")[:HOSTNAME_LENGTH_MAX].rstrip("-.")
    subdomain = pod.spec.subdomain
    return short, f"{subdomain}.{pod.metadata.namespace}.svc.{cluster_domain}" if subdomain else ""


def hostname(pod: Pod, cluster_domain: str) -> str:
    """What `hostname` prints in the pod. ValueError where the kernel would not take it."""
    short, domain = hostname_and_domain(pod, cluster_domain)
    if not domain or not pod.spec.set_hostname_as_fqdn:
        return short
    whole = f"{short}.{domain}"
    if len(whole) > FQDN_LENGTH_MAX:
        raise ValueError(
            "failed to construct FQDN from pod hostname and cluster domain, "
            f"FQDN {whole} is too long ({FQDN_LENGTH_MAX} characters is the max, {len(whole)} characters requested)"
        )
    return whole


def hosts_file(pod: Pod, pod_ips: tuple[str, ...], cluster_domain: str, host_file: str = "") -> str:
    """`host_file` is the node's own, which pods on the host's network see."""
    if pod.spec.host_network:
        return f"{HOSTS_HEADER_HOST_NETWORK}\n{host_file}{_aliases(pod)}"
    short, domain = hostname_and_domain(pod, cluster_domain)
    names = f"{short}.{domain}\t{short}" if domain else short
    lines = [HOSTS_HEADER, *LOOPBACK_LINES, *(f"{ip}\t{names}" for ip in pod_ips)]
    return "\n".join(lines) + "\n" + _aliases(pod)


def _aliases(pod: Pod) -> str:
    if not pod.spec.host_aliases:
        return ""
    lines = [f"{alias.ip}\t{chr(9).join(alias.hostnames or ())}" for alias in pod.spec.host_aliases]
    return "\n# Entries added by HostAliases.\n" + "\n".join(lines) + "\n"


def dns_config(pod: Pod, cluster_dns: tuple[str, ...], cluster_domain: str, host: DNSConfig) -> DNSConfig:
    """By dnsPolicy; `host` is what the node itself uses. As much of it as resolvers read."""
    return within_limits(wanted_dns(pod, cluster_dns, cluster_domain, host))


def within_limits(wanted: DNSConfig) -> DNSConfig:
    searches = wanted.searches[:SEARCHES_MAX]
    while len(" ".join(searches)) > SEARCH_LINE_LENGTH_MAX:
        searches = searches[:-1]
    return replace(wanted, servers=wanted.servers[:NAMESERVERS_MAX], searches=searches)


def omitted(wanted: DNSConfig) -> list[str]:
    """What the pod is told of it."""
    applied = within_limits(wanted)
    found = []
    if applied.servers != wanted.servers:
        found.append(NAMESERVERS_OMITTED.format(" ".join(applied.servers)))
    if applied.searches != wanted.searches:
        found.append(SEARCHES_OMITTED.format(" ".join(applied.searches)))
    return found


def wanted_dns(pod: Pod, cluster_dns: tuple[str, ...], cluster_domain: str, host: DNSConfig) -> DNSConfig:
    policy = pod.spec.dns_policy or "ClusterFirst"
    base = host
    if policy == "None":
        base = DNSConfig()
    elif cluster_dns and (policy == "ClusterFirstWithHostNet" or _is_cluster_first(pod, policy)):
        base = _cluster_first(pod, cluster_dns, cluster_domain, host)
    return _with_own(pod, base)


def _is_cluster_first(pod: Pod, policy: str) -> bool:
    return policy == "ClusterFirst" and not pod.spec.host_network


def _cluster_first(pod: Pod, cluster_dns: tuple[str, ...], cluster_domain: str, host: DNSConfig) -> DNSConfig:
    namespaced = f"{pod.metadata.namespace}.svc.{cluster_domain}"
    searches = (namespaced, f"svc.{cluster_domain}", cluster_domain, *host.searches)
    return DNSConfig(servers=cluster_dns, searches=_once(searches), options=("ndots:5",))


def _with_own(pod: Pod, base: DNSConfig) -> DNSConfig:
    own = pod.spec.dns_config
    if own is None:
        return base
    mine = {option.name or "": option.value for option in own.options or ()}
    kept = [option for option in base.options if option.partition(":")[0] not in mine]
    added = [f"{name}:{text}" if text is not None else name for name, text in mine.items()]
    return DNSConfig(
        servers=_once((*base.servers, *(own.nameservers or ()))),
        searches=_once((*base.searches, *(own.searches or ()))),
        options=(*kept, *added),
    )


def _once(texts: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(texts))


def parse_resolv_conf(text: str) -> DNSConfig:
    """The node's resolver configuration."""
    servers: list[str] = []
    searches: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    for line in text.splitlines():
        words = line.split()
        if len(words) > 1 and words[0] == "nameserver":
            servers.append(words[1])
        elif words and words[0] == "search":
            searches = tuple(word for word in words[1:] if word != ".")
        elif words and words[0] == "options":
            options = tuple(words[1:])
    return DNSConfig(servers=tuple(servers), searches=searches, options=options)
