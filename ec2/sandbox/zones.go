package sandbox

// zones are the availability zones of the region, with their ids.
var zones = map[string]string{"eu-west-1a": "euw1-az1", "eu-west-1b": "euw1-az2", "eu-west-1c": "euw1-az3"}

// zoneByID returns "" for an id that no zone has.
func zoneByID(id string) string {
	for name, its := range zones {
		if its == id {
			return name
		}
	}
	return ""
}
