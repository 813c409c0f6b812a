package sandbox

import (
	"iter"
	"slices"
	"strings"
	"time"
)

// regions are the regions that are enabled in a new account, and some others, with the prefix of their zones' ids
// (https://docs.aws.amazon.com/global-infrastructure/latest/regions/aws-availability-zones.html). Each has three zones
// here.
var regions = map[string]string{
	"ap-northeast-1": "apne1", "ap-northeast-2": "apne2", "ap-northeast-3": "apne3", "ap-south-1": "aps1", "ap-south-2": "aps2",
	"ap-southeast-1": "apse1", "ap-southeast-2": "apse2", "ca-central-1": "cac1", "eu-central-1": "euc1", "eu-central-2": "euc2",
	"eu-north-1": "eun1", "eu-south-1": "eus1", "eu-west-1": "euw1", "eu-west-2": "euw2", "eu-west-3": "euw3",
	"sa-east-1": "sae1", "us-east-1": "use1", "us-east-2": "use2", "us-west-1": "usw1", "us-west-2": "usw2",
}

// zone is one of a region's. Listings hold pointers: the compiler makes their code once for all.
type zone struct{ region, name, id string }

func (z *zone) key() (time.Time, string)      { return time.Unix(0, 0), z.name }
func (z *zone) shown(time.Time) (*zone, bool) { return z, true }
func (z *zone) tags() Tags                    { return nil }

// zones yields those of the region.
func (t *tx) zones() iter.Seq[*zone] {
	region := t.here.Region
	return func(yield func(*zone) bool) {
		for n, letter := range []string{"a", "b", "c"} {
			if !yield(&zone{region, region + letter, regions[region] + "-az" + string(rune('1'+n))}) {
				return
			}
		}
	}
}

func (t *tx) zone(named func(*zone) bool) *zone {
	for z := range t.zones() {
		if named(z) {
			return z
		}
	}
	return nil
}

func (t *tx) isZone(name string) bool {
	return t.zone(func(z *zone) bool { return z.name == name }) != nil
}

// zoneID is the id of a zone of any region, "" for none.
func zoneID(name string) string {
	if name == "" {
		return ""
	}
	letter := name[len(name)-1]
	prefix := regions[name[:len(name)-1]]
	if prefix == "" || letter < 'a' || letter > 'c' {
		return ""
	}
	return prefix + "-az" + string(rune('1'+letter-'a'))
}

func (t *tx) zoneByID(id string) string {
	if z := t.zone(func(z *zone) bool { return z.id == id }); z != nil {
		return z.name
	}
	return ""
}

var zoneFields = fields[*zone]{
	"region-name": single(func(z *zone, _ time.Time) string { return z.region }),
	"state":       single(func(*zone, time.Time) string { return "available" }),
	"zone-id":     single(func(z *zone, _ time.Time) string { return z.id }),
	"zone-name":   single(func(z *zone, _ time.Time) string { return z.name }),
	"zone-type":   single(func(*zone, time.Time) string { return "availability-zone" }),
}

func describeAvailabilityZones(t *tx, q *query, out *document) error {
	ids := q.list("ZoneId")
	found, _, err := describe(t, q, listing[*zone]{
		ids: "ZoneName", fields: zoneFields, after: behind(t.zones()),
		also: func(z *zone) bool { return len(ids) == 0 || slices.Contains(ids, z.id) },
		find: func(name string) (*zone, error) {
			z := t.zone(func(z *zone) bool { return z.name == name })
			if z == nil {
				return nil, refuse("InvalidParameterValue", "Invalid availability zone: [%s]", name)
			}
			return z, nil
		},
	})
	if err != nil {
		return err
	}
	set(out, "availabilityZoneInfo", found, func(z *zone) {
		out.text("optInStatus", "opt-in-not-required")
		out.text("regionName", z.region)
		out.text("zoneName", z.name)
		out.text("zoneId", z.id)
		out.text("groupName", z.region)
		out.text("networkBorderGroup", z.region)
		out.text("zoneType", "availability-zone")
		out.text("zoneState", "available")
	})
	return nil
}

func describeRegions(_ *tx, q *query, out *document) error {
	named := q.list("RegionName")
	for _, name := range named {
		if regions[name] == "" {
			return refuse("InvalidParameterValue", "Invalid region name: %s", strings.TrimSpace(name))
		}
	}
	if len(named) == 0 {
		named = sortedKeys(regions)
	}
	set(out, "regionInfo", named, func(name string) {
		out.text("optInStatus", "opt-in-not-required")
		out.text("regionName", name)
		out.text("regionEndpoint", "ec2."+name+".amazonaws.com")
	})
	return nil
}
