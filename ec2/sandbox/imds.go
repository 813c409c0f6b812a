package sandbox

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// roleName is the role whose credentials the metadata service returns.
const roleName = "sandbox-role"

const (
	tokenHeader = "X-Aws-Ec2-Metadata-Token"
	ttlHeader   = "X-Aws-Ec2-Metadata-Token-Ttl-Seconds"
)

// metadata answers IMDSv2. A token contains its own expiry, so that processes that share a folder accept each
// other's. It is not a secret.
func (w *Sandbox) metadata(r *http.Request) (*answer, error) {
	if r.URL.Path == "/latest/api/token" {
		return newToken(r), nil
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		return plain(http.StatusMethodNotAllowed, ""), nil
	}
	if !validToken(r.Header.Get(tokenHeader)) {
		return plain(http.StatusUnauthorized, ""), nil
	}
	reply := plain(http.StatusNotFound, "")
	err := w.transact(func(t *tx) error {
		if text, ok := t.metadataAt(strings.TrimPrefix(r.URL.Path, "/latest/")); ok {
			reply = plain(http.StatusOK, text)
		}
		return nil
	})
	return reply, err
}

func plain(status int, text string) *answer {
	return &answer{status: status, kind: "text/plain", body: []byte(text), header: http.Header{}}
}

func newToken(r *http.Request) *answer {
	ttl, err := strconv.Atoi(r.Header.Get(ttlHeader))
	switch {
	case r.Method != http.MethodPut:
		return plain(http.StatusMethodNotAllowed, "")
	case err != nil || ttl < 1 || ttl > 21600:
		return plain(http.StatusBadRequest, "")
	case r.Header.Get("X-Forwarded-For") != "":
		return plain(http.StatusForbidden, "") // IMDSv2 keeps open proxies out
	}
	end := time.Now().Add(time.Duration(ttl) * time.Second)
	reply := plain(http.StatusOK, fmt.Sprintf("sandbox-%d-%s", end.UnixNano(), rand.Text()))
	reply.header.Set(ttlHeader, strconv.Itoa(ttl))
	return reply
}

func validToken(token string) bool {
	rest, ok := strings.CutPrefix(token, "sandbox-")
	nanos, _, _ := strings.Cut(rest, "-")
	end, err := strconv.ParseInt(nanos, 10, 64)
	return ok && err == nil && time.Now().Before(time.Unix(0, end))
}

// metadataAt returns the text at a path below /latest/. Folders list their entries.
func (t *tx) metadataAt(path string) (string, bool) {
	i := t.instance(t.settings().InstanceID)
	switch path {
	case "dynamic/instance-identity/document":
		return identityDocument(t.here, i), true
	case "user-data":
		text := t.settings().UserData
		return text, text != ""
	}
	rest, ok := strings.CutPrefix(path, "meta-data")
	if !ok {
		return "", false
	}
	leaves := map[string]string{
		"ami-id":                               i.ImageID,
		"instance-id":                          i.ID,
		"instance-type":                        i.Type,
		"local-ipv4":                           i.PrivateIP,
		"placement/availability-zone":          i.Zone,
		"placement/availability-zone-id":       zoneID(i.Zone),
		"placement/region":                     t.here.Region,
		"services/domain":                      "amazonaws.com",
		"services/partition":                   "aws",
		"iam/info":                             `{"Code": "Success", "InstanceProfileArn": "arn:aws:iam::` + t.here.Account + `:instance-profile/` + roleName + `"}`,
		"iam/security-credentials/" + roleName: credentials(t.here, t.now),
	}
	for key, tag := range i.Tags {
		leaves["tags/instance/"+key] = tag.Value
	}
	rest = strings.TrimPrefix(rest, "/")
	if text, ok := leaves[rest]; ok {
		return text, true
	}
	return listFolder(leaves, strings.TrimSuffix(rest, "/"))
}

// listFolder lists the names right below a folder; subfolders end in a slash.
func listFolder(leaves map[string]string, folder string) (string, bool) {
	if folder != "" {
		folder += "/"
	}
	var names []string
	for _, path := range sortedKeys(leaves) {
		rest, ok := strings.CutPrefix(path, folder)
		if !ok {
			continue
		}
		name, _, deeper := strings.Cut(rest, "/")
		if deeper && folder != "tags/instance/" {
			name += "/"
		} else {
			name = rest
		}
		if len(names) == 0 || names[len(names)-1] != name {
			names = append(names, name)
		}
	}
	return strings.Join(names, "\n"), len(names) > 0
}

func identityDocument(in World, i *Instance) string {
	document, _ := json.MarshalIndent(map[string]any{ // strings only: cannot fail
		"accountId": in.Account, "architecture": "x86_64", "availabilityZone": i.Zone, "imageId": i.ImageID, "instanceId": i.ID,
		"instanceType": i.Type, "pendingTime": i.Launched.UTC().Format(time.RFC3339), "privateIp": i.PrivateIP,
		"region": in.Region, "version": "2017-09-30",
	}, "", "  ")
	return string(document)
}

// credentials are worth nothing and last six hours, as an instance role's do.
func credentials(in World, now time.Time) string {
	document, _ := json.MarshalIndent(map[string]any{ // strings only: cannot fail
		"Code": "Success", "LastUpdated": now.UTC().Format(time.RFC3339), "Type": "AWS-HMAC",
		"AccessKeyId": in.AccessKey(), "SecretAccessKey": secretKey, "Token": "sandbox",
		"Expiration": now.Add(6 * time.Hour).UTC().Format(time.RFC3339),
	}, "", "  ")
	return string(document)
}
