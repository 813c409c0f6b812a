package engine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/url"

	"snaptastic/cmd/internal/settings"
	"snaptastic/ec2"
	"snaptastic/journal"
	"snaptastic/plan"
)

// cloudConfig is how this command comes to EC2: by its flags, else by what the run that it goes on with recorded, else by the
// settings.
func (e *Engine) cloudConfig() journal.CloudConfig {
	var way journal.CloudConfig
	switch {
	case e.recorded != nil:
		way = *e.recorded
	case e.file != nil:
		aws := e.file.AWS()
		way = journal.CloudConfig{Region: aws.Region, EndpointURL: aws.EndpointURL}
		if e.getenv("AWS_PROFILE") == "" {
			way.Profile = aws.Profile
		}
	}
	way.Region = cmp.Or(e.Reach.Region, way.Region)
	way.EndpointURL = cmp.Or(e.Reach.EndpointURL, way.EndpointURL)
	way.MetadataURL = cmp.Or(e.Reach.MetadataURL, way.MetadataURL)
	return way
}

// recordCloudConfig is what a new run writes down of it: whoever goes on with the run may have neither these flags nor this
// environment. Nil for a sandbox inside this process, which has another address each time.
func (e *Engine) recordCloudConfig(ctx context.Context) *journal.CloudConfig {
	if e.Sandbox != "" && e.Reach.EndpointURL == "" || e.client == nil {
		return nil
	}
	way := e.cloudConfig()
	way.Environ = ec2.ConfigVars(way.Profile)
	if region, err := e.client.Region(ctx); err == nil {
		way.Region = region
	}
	for _, address := range []*string{&way.EndpointURL, &way.MetadataURL} {
		*address = withoutSecrets(*address)
	}
	for name, value := range way.Environ {
		way.Environ[name] = withoutSecrets(value)
	}
	return &way
}

// withoutSecrets leaves away an address that holds a password: there are no credentials in a journal.
func withoutSecrets(text string) string {
	if u, err := url.Parse(text); err == nil && u.User != nil {
		return ""
	}
	return text
}

// useCloudConfigOf makes this command reach EC2 as the run did; back undoes that. A run that recorded nothing, of an earlier
// version, follows the settings, if there are any.
func (e *Engine) useCloudConfigOf(way *journal.CloudConfig) (back func()) {
	e.recorded, e.client, e.ident = way, nil, nil
	if way == nil {
		e.settingsIfAny()
		return func() {}
	}
	return func() { e.recorded, e.client, e.ident = nil, nil, nil }
}

// settingsIfAny reads the settings for what they say of EC2. What goes on with a run does not need them.
func (e *Engine) settingsIfAny() {
	err := e.loadSettings()
	if err != nil && !errors.Is(err, settings.ErrNotFound) {
		e.log.Warn("cannot read the settings; using what the runs recorded", "error", oneLine(err.Error()))
	}
}

// ownRegion refuses another region than the instance's own: the volumes of an instance are in its region alone.
func (e *Engine) ownRegion(ctx context.Context, self ec2.Identity) error {
	c, err := e.cloud(ctx)
	if err != nil {
		return err
	}
	region, err := c.Region(ctx)
	if err != nil || region == self.Region || self.Region == "" {
		return err
	}
	return &Error{Code: Usage, Err: plan.WithHint(e.regionFrom(),
		fmt.Errorf("cannot use region %s: this instance (%s) and its volumes are in %s", region, self.InstanceID, self.Region))}
}

// regionFrom says what to do about the region's source.
func (e *Engine) regionFrom() string {
	switch {
	case e.Reach.Region != "":
		return "remove --region: the region comes from the instance"
	case e.recorded != nil && e.recorded.Region != "":
		return "the run was started with it; use --region to set the right one"
	case e.file != nil && e.file.AWS().Region != "":
		return "remove region from the aws block of the settings: the region comes from the instance"
	}
	for _, name := range []string{"AWS_REGION", "AWS_DEFAULT_REGION"} {
		if e.getenv(name) != "" {
			return "unset " + name + ": the region comes from the instance"
		}
	}
	return "remove the region from the AWS profile: the region comes from the instance"
}
