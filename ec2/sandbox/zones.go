package sandbox

import (
	"slices"
	"strings"
	"time"
)

var zones = []zone{
	{"eu-west-1a", "euw1-az1"},
	{"eu-west-1b", "euw1-az2"},
	{"eu-west-1c", "euw1-az3"},
}

type zone struct{ name, id string }

func (z zone) key() (time.Time, string)     { return time.Unix(0, 0), z.name }
func (z zone) shown(time.Time) (zone, bool) { return z, true }
func (z zone) tags() Tags                   { return nil }

func isZone(name string) bool { return zoneID(name) != "" }

func zoneID(name string) string {
	for _, z := range zones {
		if z.name == name {
			return z.id
		}
	}
	return ""
}

func zoneByID(id string) string {
	for _, z := range zones {
		if z.id == id {
			return z.name
		}
	}
	return ""
}

var zoneFields = fields[zone]{
	"region-name": single(func(zone, time.Time) string { return Region }),
	"state":       single(func(zone, time.Time) string { return "available" }),
	"zone-id":     single(func(z zone, _ time.Time) string { return z.id }),
	"zone-name":   single(func(z zone, _ time.Time) string { return z.name }),
	"zone-type":   single(func(zone, time.Time) string { return "availability-zone" }),
}

func describeAvailabilityZones(t *tx, q *query, out *document) error {
	ids := q.list("ZoneId")
	found, _, err := describe(t, q, listing[zone]{
		ids: "ZoneName", fields: zoneFields, after: behind(slices.Values(zones)),
		also: func(z zone) bool { return len(ids) == 0 || slices.Contains(ids, z.id) },
		find: func(name string) (zone, error) {
			if !isZone(name) {
				return zone{}, refuse("InvalidParameterValue", "Invalid availability zone: [%s]", name)
			}
			return zone{name, zoneID(name)}, nil
		},
	})
	if err != nil {
		return err
	}
	set(out, "availabilityZoneInfo", found, func(z zone) {
		out.text("optInStatus", "opt-in-not-required")
		out.text("regionName", Region)
		out.text("zoneName", z.name)
		out.text("zoneId", z.id)
		out.text("groupName", Region)
		out.text("networkBorderGroup", Region)
		out.text("zoneType", "availability-zone")
		out.text("zoneState", "available")
	})
	return nil
}

func describeRegions(_ *tx, q *query, out *document) error {
	for _, name := range q.list("RegionName") {
		if name != Region {
			return refuse("InvalidParameterValue", "Invalid region name: %s", strings.TrimSpace(name))
		}
	}
	set(out, "regionInfo", []string{Region}, func(name string) {
		out.text("optInStatus", "opt-in-not-required")
		out.text("regionName", name)
		out.text("regionEndpoint", "ec2."+name+".amazonaws.com")
	})
	return nil
}
