package link

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	commonpb "go.temporal.io/api/common/v1"
	"google.golang.org/protobuf/proto"

	"snaptastic-fleet/config"
)

func keyFile(t *testing.T, key string) config.Key {
	t.Helper()
	p := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(p, []byte(key), 0o600); err != nil {
		t.Fatal(err)
	}
	return config.Key{File: p}
}

func codec(t *testing.T, keys ...config.Key) *Codec {
	t.Helper()
	if keys == nil {
		keys = []config.Key{keyFile(t, NewKey())}
	}
	c, err := NewCodec(t.Context(), keys...)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestPayloadsAreReadWithTheSameKeyOnly(t *testing.T) {
	c := codec(t)
	plain := []*commonpb.Payload{{Metadata: map[string][]byte{"encoding": []byte("json/plain")}, Data: []byte(`"a set's identity"`)}}
	sealed, err := c.Encode(plain)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(sealed[0].Data, []byte("identity")) || bytes.Contains(sealed[0].Data, []byte("json")) {
		t.Error("it can be read")
	}
	again, _ := c.Encode(plain)
	if bytes.Equal(again[0].Data, sealed[0].Data) {
		t.Error("two payloads with one nonce")
	}
	opened, err := c.Decode(sealed)
	if err != nil || !proto.Equal(opened[0], plain[0]) {
		t.Errorf("%v %v", opened, err)
	}
	if _, err := codec(t).Decode(sealed); err == nil || !strings.Contains(err.Error(), "another key") {
		t.Errorf("with another key: %v", err)
	}
	for i := range sealed[0].Data {
		changed := proto.Clone(sealed[0]).(*commonpb.Payload)
		changed.Data[i] ^= 1
		if _, err := c.Decode([]*commonpb.Payload{changed}); err == nil {
			t.Fatalf("byte %d was changed, and nobody noticed", i)
		}
	}
	if _, err := c.Decode([]*commonpb.Payload{{Metadata: sealed[0].Metadata, Data: []byte("x")}}); err == nil {
		t.Error("a short one was read")
	}
	if _, err := c.Decode(plain); err == nil || !strings.Contains(err.Error(), "not encrypted") {
		t.Errorf("a payload in plain text: %v", err)
	}
}

func TestAKeyThatOthersMayReadIsRefused(t *testing.T) {
	for text, mode := range map[string]os.FileMode{NewKey(): 0o644, "short\n": 0o600} {
		p := filepath.Join(t.TempDir(), "key")
		if err := os.WriteFile(p, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		if _, err := NewCodec(t.Context(), config.Key{File: p}); err == nil {
			t.Errorf("%q %o was taken", text, mode)
		}
	}
}

// While a key is replaced, both are read, and one is written with.
func TestAnOlderKeyIsReadAndNotWrittenWith(t *testing.T) {
	before, after := keyFile(t, NewKey()), keyFile(t, NewKey())
	plain := []*commonpb.Payload{{Data: []byte("x")}}
	seal := func(c *Codec) []*commonpb.Payload {
		sealed, err := c.Encode(plain)
		if err != nil {
			t.Fatal(err)
		}
		return sealed
	}
	reads := func(c *Codec, sealed []*commonpb.Payload) bool {
		opened, err := c.Decode(sealed)
		return err == nil && proto.Equal(opened[0], plain[0])
	}
	first, second, third := codec(t, before, after), codec(t, after, before), codec(t, after)
	if !reads(second, seal(first)) || !reads(first, seal(second)) {
		t.Error("a machine that has the new key already and one that writes with the old one do not understand one another")
	}
	if !reads(third, seal(second)) || reads(third, seal(first)) {
		t.Error("what is written does not follow from the first key")
	}
}
