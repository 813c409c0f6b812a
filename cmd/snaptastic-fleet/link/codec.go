package link

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"

	commonpb "go.temporal.io/api/common/v1"
	"google.golang.org/protobuf/proto"
)

const encoding = "binary/snaptastic-aes-256-gcm"

// A Codec encrypts payloads with AES-256-GCM, each with a nonce of its own.
type Codec struct{ aead cipher.AEAD }

// NewKey returns a new key as its file holds it.
func NewKey() string {
	key := make([]byte, 32)
	_, _ = rand.Read(key) // never fails: crypto/rand
	return base64.StdEncoding.EncodeToString(key) + "\n"
}

// NewCodec reads the key: 32 bytes in base64, in a file that only its owner may read.
func NewCodec(file string) (*Codec, error) {
	info, err := os.Stat(file)
	if err != nil {
		return nil, fmt.Errorf("cannot read the key: %w", err)
	}
	if st := info.Sys().(*syscall.Stat_t); info.Mode().Perm()&0o077 != 0 || st.Uid != 0 && int(st.Uid) != os.Geteuid() {
		return nil, fmt.Errorf("others may read the key: chmod 600 %s", file)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("cannot read the key: %w", err)
	}
	key, err := base64.StdEncoding.DecodeString(strings.TrimSpace(string(text)))
	if err != nil || len(key) != 32 {
		return nil, fmt.Errorf("%s is not 32 bytes in base64. Make one: snaptastic-fleet key > %s", file, file)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return nil, err
	}
	return &Codec{aead: aead}, nil
}

// Encode encrypts.
func (c *Codec) Encode(payloads []*commonpb.Payload) ([]*commonpb.Payload, error) {
	out := make([]*commonpb.Payload, len(payloads))
	for i, p := range payloads {
		plain, err := proto.Marshal(p)
		if err != nil {
			return nil, err
		}
		nonce := make([]byte, c.aead.NonceSize())
		_, _ = rand.Read(nonce)
		out[i] = &commonpb.Payload{
			Metadata: map[string][]byte{"encoding": []byte(encoding)},
			Data:     c.aead.Seal(nonce, nonce, plain, []byte(encoding)),
		}
	}
	return out, nil
}

// Decode decrypts. What is not encrypted is refused: whoever may write to the
// server's database without the key must not be able to begin anything.
func (c *Codec) Decode(payloads []*commonpb.Payload) ([]*commonpb.Payload, error) {
	out := make([]*commonpb.Payload, len(payloads))
	for i, p := range payloads {
		if string(p.GetMetadata()["encoding"]) != encoding {
			return nil, errors.New("a payload is not encrypted, and this fleet's are: does its sender lack key_file?")
		}
		n := c.aead.NonceSize()
		if len(p.Data) < n {
			return nil, errors.New("a payload is too short to be encrypted")
		}
		plain, err := c.aead.Open(nil, p.Data[:n], p.Data[n:], []byte(encoding))
		if err != nil {
			return nil, errors.New("a payload was encrypted with another key, or was changed")
		}
		out[i] = &commonpb.Payload{}
		if err := proto.Unmarshal(plain, out[i]); err != nil {
			return nil, err
		}
	}
	return out, nil
}
