package flow

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Versions says which hosts have which version of snaptastic, the rarest first; "" where all have the same. It is a remark and no
// error: while a fleet is upgraded it needs its snapshots, too. A version that cannot do what it is asked says so when it prepares.
func Versions(hosts []HostState) string {
	by := map[string][]string{}
	for _, h := range hosts {
		if h.Version != "" {
			by[h.Version] = append(by[h.Version], h.Host)
		}
	}
	if len(by) < 2 {
		return ""
	}
	known := slices.SortedFunc(maps.Keys(by), func(a, b string) int { return cmp.Or(len(by[a])-len(by[b]), cmp.Compare(a, b)) })
	var parts []string
	for _, v := range known {
		parts = append(parts, v+" on "+some(by[v]))
	}
	return "the hosts have different versions of snaptastic: " + strings.Join(parts, "; ")
}

// some names a few of many hosts.
func some(names []string) string {
	const most = 5
	if more := len(names) - most; more > 0 {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:most], " "), more)
	}
	return strings.Join(names, " ")
}
