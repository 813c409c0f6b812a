package sandbox

import (
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// metadataAddresses are those at which a metadata service is asked for.
var metadataAddresses = []string{"169.254.169.254", "fd00:ec2::254"}

// refuseForeign returns why a request did not come from a client that was configured for the sandbox, or "". The
// sandbox checks no signature, so a web page in a browser must not reach it: neither by a name that resolves to
// loopback (DNS rebinding), nor as a form posted to 127.0.0.1.
func (w *Sandbox) refuseForeign(r *http.Request) string {
	if !w.isLocalHost(r.Host) {
		return "the sandbox does not answer to the name \"" + hostOf(r.Host) + "\". Allow it with --allow-host, or use a loopback address."
	}
	if origin := r.Header.Get("Origin"); origin != "" {
		from, err := url.Parse(origin)
		if err != nil || from.Host == "" || !w.isLocalHost(from.Host) {
			return "the sandbox answers no pages of other sites."
		}
	}
	return ""
}

// isLocalHost tells whether a Host header names this machine's loopback, a
// metadata service, or what the configuration allows. HTTP/1.0 needs none.
func (w *Sandbox) isLocalHost(host string) bool {
	name := hostOf(host)
	if name == "" || name == "localhost" || strings.HasSuffix(name, ".localhost") {
		return true // RFC 6761: resolvers keep these names on loopback
	}
	if ip := net.ParseIP(name); ip != nil && (ip.IsLoopback() || slices.ContainsFunc(metadataAddresses, func(a string) bool { return net.ParseIP(a).Equal(ip) })) {
		return true
	}
	return slices.ContainsFunc(w.config.Hosts, func(allowed string) bool { return hostOf(allowed) == name })
}

// hostOf is the name or address in a Host header, in lower case.
func hostOf(host string) string {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	return strings.ToLower(strings.TrimSuffix(host, "."))
}
