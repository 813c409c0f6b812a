package link

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"errors"

	commonpb "go.temporal.io/api/common/v1"
	"google.golang.org/protobuf/proto"

	"snaptastic-fleet/config"
)

const encoding = "binary/snaptastic-aes-256-gcm"

// A Codec encrypts payloads with AES-256-GCM, each with a nonce of its own. It encrypts with the first key and reads with all.
type Codec struct{ keys []cipher.AEAD }

// NewCodec reads the keys. A [CommandError] is worth another try.
func NewCodec(ctx context.Context, keys ...config.Key) (*Codec, error) {
	c := &Codec{}
	for _, k := range keys {
		key, err := readKey(ctx, k)
		if err != nil {
			return nil, err
		}
		block, err := aes.NewCipher(key)
		if err != nil {
			return nil, err
		}
		aead, err := cipher.NewGCM(block)
		if err != nil {
			return nil, err
		}
		c.keys = append(c.keys, aead)
	}
	return c, nil
}

// Encode encrypts.
func (c *Codec) Encode(payloads []*commonpb.Payload) ([]*commonpb.Payload, error) {
	out := make([]*commonpb.Payload, len(payloads))
	for i, p := range payloads {
		plain, err := proto.Marshal(p)
		if err != nil {
			return nil, err
		}
		nonce := make([]byte, c.keys[0].NonceSize())
		_, _ = rand.Read(nonce)
		out[i] = &commonpb.Payload{
			Metadata: map[string][]byte{"encoding": []byte(encoding)},
			Data:     c.keys[0].Seal(nonce, nonce, plain, []byte(encoding)),
		}
	}
	return out, nil
}

// Decode decrypts. What is not encrypted is refused: whoever may write to the server or its database without the key
// cannot make up a payload. He can send again one that was stored, with the same workflow or another one: nothing binds it to its place.
func (c *Codec) Decode(payloads []*commonpb.Payload) ([]*commonpb.Payload, error) {
	out := make([]*commonpb.Payload, len(payloads))
	for i, p := range payloads {
		if string(p.GetMetadata()["encoding"]) != encoding {
			return nil, errors.New("a payload is not encrypted, and this fleet's are: does its sender lack server.key_file or key_command?")
		}
		plain, err := c.open(p.Data)
		if err != nil {
			return nil, err
		}
		out[i] = &commonpb.Payload{}
		if err := proto.Unmarshal(plain, out[i]); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func (c *Codec) open(data []byte) ([]byte, error) {
	for _, k := range c.keys {
		n := k.NonceSize()
		if len(data) < n {
			return nil, errors.New("a payload is too short to be encrypted")
		}
		if plain, err := k.Open(nil, data[:n], data[n:], []byte(encoding)); err == nil {
			return plain, nil
		}
	}
	return nil, errors.New("a payload was encrypted with another key, or was changed")
}
