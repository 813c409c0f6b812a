package sandbox_test

import (
	"io"
	"net/http"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/credentials/ec2rolecreds"
	"github.com/aws/aws-sdk-go-v2/feature/ec2/imds"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"snaptastic/ec2/sandbox"
)

func get(t *testing.T, request *http.Request) (int, http.Header, string) {
	t.Helper()
	response, err := unpooled.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, response.Header, string(body)
}

func TestTheMetadataServiceAnswersTheSDK(t *testing.T) {
	w := filesOnly(t, sandbox.Config{UserData: `{"role": "solr"}`})
	ctx := t.Context()
	if err := w.SetInstanceTags(map[string]string{"Name": "solr-1"}); err != nil {
		t.Fatal(err)
	}
	c := imds.New(imds.Options{Endpoint: w.url})
	identity, err := c.GetInstanceIdentityDocument(ctx, nil)
	if err != nil {
		t.Fatal(err)
	}
	if identity.InstanceID != w.instance || identity.AvailabilityZone != sandbox.Zone || identity.Region != sandbox.Region || identity.AccountID != sandbox.Account {
		t.Errorf("identity %+v", identity)
	}
	region, err := c.GetRegion(ctx, nil)
	if err != nil || region.Region != sandbox.Region {
		t.Errorf("region %v, %v", region, err)
	}
	userData, err := c.GetUserData(ctx, nil)
	if err != nil {
		t.Fatal(err)
	}
	if text, _ := io.ReadAll(userData.Content); string(text) != `{"role": "solr"}` {
		t.Errorf("user data %q", text)
	}
	for path, want := range map[string]string{
		"placement/availability-zone": sandbox.Zone, "instance-type": "m5.large", "tags/instance": "Name", "tags/instance/Name": "solr-1",
		"iam/security-credentials/": "sandbox-role", "placement/": "availability-zone\navailability-zone-id\nregion",
	} {
		out, err := c.GetMetadata(ctx, &imds.GetMetadataInput{Path: path})
		if err != nil {
			t.Errorf("%s: %v", path, err)
			continue
		}
		if text, _ := io.ReadAll(out.Content); string(text) != want {
			t.Errorf("%s: %q, want %q", path, text, want)
		}
	}
	role, err := ec2rolecreds.New(func(o *ec2rolecreds.Options) { o.Client = c }).Retrieve(ctx)
	if err != nil || role.AccessKeyID == "" || !role.CanExpire {
		t.Errorf("role credentials %+v, %v", role, err)
	}
}

func TestTheMetadataServiceWantsAToken(t *testing.T) {
	w := filesOnly(t, sandbox.Config{})
	request := func(method, path string, header ...string) (int, string) {
		r, err := http.NewRequest(method, w.url+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		for i := 0; i < len(header); i += 2 {
			r.Header.Set(header[i], header[i+1])
		}
		status, _, body := get(t, r)
		return status, body
	}
	const ttl, token = "X-aws-ec2-metadata-token-ttl-seconds", "X-aws-ec2-metadata-token"
	if status, _ := request("GET", "/latest/meta-data/instance-id"); status != 401 {
		t.Errorf("without a token: %d", status)
	}
	if status, _ := request("PUT", "/latest/api/token"); status != 400 {
		t.Errorf("a token without TTL: %d", status)
	}
	status, good := request("PUT", "/latest/api/token", ttl, "60")
	if status != 200 {
		t.Fatalf("token: %d", status)
	}
	if status, body := request("GET", "/latest/meta-data/instance-id", token, good); status != 200 || body != w.instance {
		t.Errorf("with a token: %d %s", status, body)
	}
	for _, path := range []string{"/latest/user-data", "/latest/meta-data/none", "/latest/meta-data/tags/instance/None"} {
		if status, _ := request("GET", path, token, good); status != 404 {
			t.Errorf("%s: %d, want 404", path, status)
		}
	}
	for _, bad := range []string{"x", "sandbox-1-" + good, ""} {
		if status, _ := request("GET", "/latest/meta-data/", token, bad); status != 401 {
			t.Errorf("token %q: %d, want 401", bad, status)
		}
	}
}

func TestTheCallerIsInTheAccount(t *testing.T) {
	w := filesOnly(t, sandbox.Config{})
	c := sts.New(sts.Options{BaseEndpoint: &w.url, Region: sandbox.Region, Credentials: credentials.NewStaticCredentialsProvider("key", "secret", ""), Retryer: aws.NopRetryer{}, HTTPClient: unpooled})
	out, err := c.GetCallerIdentity(t.Context(), nil)
	if err != nil || *out.Account != sandbox.Account {
		t.Errorf("%v, %v", out, err)
	}
}
