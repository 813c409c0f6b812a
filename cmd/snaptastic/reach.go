package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"

	"snaptastic/cmd/internal/settings"
	"snaptastic/ec2"
	"snaptastic/journal"
)

// way is how this command comes to EC2: by its flags, else by what the run that it goes on with recorded, else by the
// settings.
func (a *app) way() journal.Reach {
	var way journal.Reach
	switch {
	case a.recorded != nil:
		way = *a.recorded
	case a.file != nil:
		aws := a.file.AWS()
		way = journal.Reach{Region: aws.Region, EndpointURL: aws.EndpointURL}
		if os.Getenv("AWS_PROFILE") == "" {
			way.Profile = aws.Profile
		}
	}
	if a.region != "" {
		way.Region = a.region
	}
	if a.endpoint != "" {
		way.EndpointURL = a.endpoint
	}
	if a.metadata != "" {
		way.MetadataURL = a.metadata
	}
	return way
}

// recordWay is what a new run writes down of it: whoever goes on with the run may have neither these flags nor this
// environment. Nil for a sandbox inside this process, which has another address each time.
func (a *app) recordWay(ctx context.Context) *journal.Reach {
	if a.server != nil || a.client == nil {
		return nil
	}
	way := a.way()
	way.Environ = ec2.Surroundings(way.Profile)
	if region, err := a.client.Region(ctx); err == nil {
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

// goTheWayOf makes this command reach EC2 as the run did; back undoes that. A run that recorded nothing, of an earlier
// version, goes by the settings, if there are any.
func (a *app) goTheWayOf(way *journal.Reach) (back func()) {
	a.recorded, a.client, a.ident = way, nil, nil
	if way == nil {
		a.settingsIfAny()
		return func() {}
	}
	var set []string
	for name, value := range way.Environ {
		if _, there := os.LookupEnv(name); !there && value != "" && ec2.Surrounding(name) {
			_ = os.Setenv(name, value) // the SDK's own way in
			set = append(set, name)
		}
	}
	return func() {
		for _, name := range set {
			_ = os.Unsetenv(name)
		}
		a.recorded, a.client, a.ident = nil, nil, nil
	}
}

// settingsIfAny reads the settings for what they say of EC2. What goes on with a run does not need them.
func (a *app) settingsIfAny() {
	err := a.loadSettings()
	if err != nil && !errors.Is(err, settings.ErrNotFound) {
		a.log.Warn("the settings are not read; runs go on by what they recorded", "error", oneLine(err.Error()))
	}
}

// ownRegion refuses another region than the instance's own: the volumes of an instance are in its region alone.
func (a *app) ownRegion(ctx context.Context, self ec2.Identity) error {
	c, err := a.cloud(ctx)
	if err != nil {
		return err
	}
	region, err := c.Region(ctx)
	if err != nil || region == self.Region || self.Region == "" {
		return err
	}
	return &codeError{code: exitUsage, err: fmt.Errorf("cannot work in region %s: this instance (%s) is in %s, and so are its volumes", region, self.InstanceID, self.Region),
		hint: a.regionFrom()}
}

// regionFrom says what to do about the region's source.
func (a *app) regionFrom() string {
	switch {
	case a.region != "":
		return "leave --region away: the instance knows its own"
	case a.recorded != nil && a.recorded.Region != "":
		return "the run was begun in it; give the right one with --region"
	case a.file != nil && a.file.AWS().Region != "":
		return "leave region out of the aws block of the settings: the instance knows its own"
	}
	for _, name := range []string{"AWS_REGION", "AWS_DEFAULT_REGION"} {
		if os.Getenv(name) != "" {
			return "unset " + name + ": the instance knows its own region"
		}
	}
	return "leave the region out of the AWS profile: the instance knows its own"
}
