package sandbox_test

import (
	"encoding/xml"
	"io"
	"net/http"
	"strings"
	"testing"

	"snaptastic/ec2/sandbox"
)

// Whatever is asked, the answer is well-formed XML, in EC2's envelope when it
// is an error.
func FuzzAnyRequestGetsAnAnswer(f *testing.F) {
	for _, body := range []string{
		"Action=DescribeVolumes&Filter.1.Name=tag:a&Filter.1.Value.1=*b?&MaxResults=5",
		"Action=CreateVolume&AvailabilityZone=eu-west-1a&Size=1&TagSpecification.1.ResourceType=volume&TagSpecification.1.Tag.1.Key=%00&TagSpecification.1.Tag.1.Value=<",
		"Action=CreateSnapshots&InstanceSpecification.InstanceId=i-0123456789abcdef0&InstanceSpecification.ExcludeDataVolumeId.9999999999999999999=x",
		"Action=DescribeSnapshots&Owner.1=self&NextToken=MTIzL3g&SnapshotId.1=snap-1",
		"Action=CopySnapshot&SourceRegion=eu-west-1&SourceSnapshotId=snap-0123456789abcdef0&PresignedUrl=%00&CompletionDurationMinutes=15&KmsKeyId=arn::",
		"Action=ModifySnapshotAttribute&SnapshotId=snap-1&OperationType=add&UserId.1=all&CreateVolumePermission.Remove.1.Group=all", "Action=DescribeSnapshots&RestorableBy.1=self",
		"Action=LockSnapshot&SnapshotId=snap-1&LockMode=compliance&LockDuration=2147483647&CoolOffPeriod=-1", "Action=DescribeSnapshotAttribute&SnapshotId=snap-1&Attribute=x",
		"Action=CreateTags&ResourceId.1=vol-&Tag=&Tag.-1.Key=a", "Action=%3Cx%3E", "&&==%25", "",
	} {
		f.Add(body)
	}
	w, err := sandbox.Open(sandbox.Config{Dir: f.TempDir(), FilesOnly: true})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { w.Close() })
	f.Fuzz(func(t *testing.T, body string) {
		request, err := http.NewRequest("POST", "http://sandbox.invalid/", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Authorization", "x")
		response, err := w.RoundTripper().RoundTrip(request)
		if err != nil {
			t.Fatal(err)
		}
		answer, err := io.ReadAll(response.Body)
		if err != nil {
			t.Fatal(err)
		}
		for decoder := xml.NewDecoder(strings.NewReader(string(answer))); ; {
			if _, err := decoder.Token(); err == io.EOF {
				break
			} else if err != nil {
				t.Fatalf("%v in %s", err, answer)
			}
		}
		if response.StatusCode != 200 && !strings.Contains(string(answer), "<Response><Errors><Error><Code>") && !strings.Contains(string(answer), "<ErrorResponse") {
			t.Errorf("%d without EC2's envelope: %s", response.StatusCode, answer)
		}
		if response.StatusCode == 500 {
			t.Errorf("an internal error: %s", answer)
		}
	})
}
