package sandbox_test

import (
	"bytes"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"snaptastic/ec2/sandbox"
)

func TestRequestsForOtherHostsAreRefused(t *testing.T) {
	w := filesOnly(t, sandbox.Config{Hosts: []string{"build.example"}})
	for _, test := range []struct {
		host, origin string
		want         int
	}{
		{"127.0.0.1", "", 200}, {"127.0.0.1:80", "", 200}, {"127.8.8.8:80", "", 200}, {"localhost:4566", "", 200}, {"LOCALHOST.", "", 200},
		{"ec2.localhost", "", 200}, {"[::1]:80", "", 200}, {"[::1]", "", 200},
		{"169.254.169.254", "", 200}, {"[fd00:ec2::254]:80", "", 200},
		{"build.example:9", "", 200}, {"Build.Example", "", 200},
		{"evil.example", "", 421}, {"evil.example:80", "", 421}, {"127.0.0.1.evil.example", "", 421}, {"localhost.evil.example", "", 421},
		{"notlocalhost", "", 421}, {"10.0.0.1", "", 421}, {"169.254.169.253", "", 421}, {"[2001:db8::1]", "", 421}, {"0.0.0.0", "", 421},
		{"127.0.0.1", "https://evil.example", 421}, {"127.0.0.1", "null", 421}, {"127.0.0.1", "http://localhost:3000", 200},
	} {
		for _, path := range []string{"/latest/api/token", "/"} {
			method, body := http.MethodPut, ""
			if path == "/" {
				method, body = http.MethodPost, "Action=DescribeVolumes&Version=2016-11-15&X-Amz-Signature=x"
			}
			r, err := http.NewRequestWithContext(t.Context(), method, w.url+path, strings.NewReader(body))
			if err != nil {
				t.Fatal(err)
			}
			r.Host = test.host
			r.Header.Set("X-Aws-Ec2-Metadata-Token-Ttl-Seconds", "60")
			r.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential=x")
			if test.origin != "" {
				r.Header.Set("Origin", test.origin)
			}
			if path == "/" {
				r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			}
			answer, err := unpooled.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			text, _ := io.ReadAll(answer.Body)
			answer.Body.Close()
			if refused := answer.StatusCode == 421; refused != (test.want == 421) {
				t.Errorf("Host %q, Origin %q at %s: %d %s", test.host, test.origin, path, answer.StatusCode, text)
			}
		}
	}
}

func TestTheLogHoldsNoUserdata(t *testing.T) {
	w := filesOnly(t, sandbox.Config{})
	images, err := w.c.DescribeImages(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	const password = "aHVudGVyMg=="
	if _, err := w.c.RunInstances(t.Context(), &ec2.RunInstancesInput{ImageId: images.Images[0].ImageId, MinCount: aws.Int32(1), MaxCount: aws.Int32(1), UserData: aws.String(password)}); err != nil {
		t.Fatal(err)
	}
	for _, in := range []*ec2.ModifyInstanceAttributeInput{
		{InstanceId: &w.instance, UserData: &types.SecureBlobAttributeValue{Value: []byte("hunter2")}},
		{InstanceId: &w.instance, Attribute: types.InstanceAttributeNameUserData, Value: aws.String(password)},
	} {
		w.c.ModifyInstanceAttribute(t.Context(), in) // refused ones are logged too
	}
	for _, path := range []string{"/?Action=DescribeVolumes&X-Amz-Signature=" + password + "&X-Amz-Credential=" + password + "&X-Amz-Security-Token=" + password, "/?Action=Nonsense&UserData=" + password} {
		answer, err := http.Get(w.url + path)
		if err != nil {
			t.Fatal(err)
		}
		answer.Body.Close()
	}
	text, err := os.ReadFile(filepath.Join(w.dir(), "log.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(text, []byte(password)) || bytes.Contains(text, []byte(strings.TrimRight(password, "="))) {
		t.Errorf("the log tells it:\n%s", text)
	}
	if n := bytes.Count(text, []byte("(redacted, ")); n < 5 {
		t.Errorf("%d parameters are redacted", n)
	}
}
