package ec2

import (
	"net"
	"net/http"
	"time"
)

// newHTTPClient returns a client that follows no redirect (a signed request must not be sent elsewhere). Its default
// transport keeps enough idle connections for a set of lanes that snapshot at once, and speaks HTTP/1.1 only, as EC2
// does: a request never shares its connection with another one's loss.
func newHTTPClient(transport http.RoundTripper) *http.Client {
	client := &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	if transport != nil {
		return client
	}
	client.Timeout = 90 * time.Second // one attempt, its body included
	dialer := &net.Dialer{Timeout: 3 * time.Second, KeepAlive: 15 * time.Second}
	client.Transport = &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           dialer.DialContext,
		TLSHandshakeTimeout:   5 * time.Second,
		ResponseHeaderTimeout: 60 * time.Second,
		ExpectContinueTimeout: time.Second,
		MaxIdleConns:          128,
		MaxIdleConnsPerHost:   64,
		IdleConnTimeout:       30 * time.Second,
	}
	return client
}
