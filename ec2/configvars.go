package ec2

import (
	"os"
	"slices"

	"github.com/aws/aws-sdk-go-v2/config"
)

// configVars are the environment variables that select region, endpoint and profile. None is a secret.
// Source: https://docs.aws.amazon.com/sdkref/latest/guide/settings-reference.html
var configVars = []string{
	"AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE", "AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE", "AWS_CA_BUNDLE",
	"AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_EC2", "AWS_ENDPOINT_URL_STS", "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS",
	"AWS_USE_FIPS_ENDPOINT", "AWS_USE_DUALSTACK_ENDPOINT",
	"AWS_EC2_METADATA_SERVICE_ENDPOINT", "AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE",
}

// IsConfigVar reports whether an environment variable is one of configVars.
func IsConfigVar(name string) bool { return slices.Contains(configVars, name) }

// ConfigVars returns the variables that are set. With a profile it adds the paths of the configuration files, which
// depend on the user's home directory.
func ConfigVars(profile string) map[string]string {
	set := map[string]string{}
	if profile != "" || os.Getenv("AWS_PROFILE") != "" {
		set["AWS_CONFIG_FILE"], set["AWS_SHARED_CREDENTIALS_FILE"] = config.DefaultSharedConfigFilename(), config.DefaultSharedCredentialsFilename()
	}
	for _, name := range configVars {
		if value := os.Getenv(name); value != "" {
			set[name] = value
		}
	}
	return set
}
