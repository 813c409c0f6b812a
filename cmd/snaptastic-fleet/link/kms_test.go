package link

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"snaptastic-fleet/config"
)

// kms is as much of KMS as docs/fleet.md asks of it: a new data key as ciphertext alone, and its plaintext for it.
func kms(t *testing.T, key string) (url string, denied *atomic.Bool) {
	t.Helper()
	denied = &atomic.Bool{}
	const sealed = "\x01\x02ciphertext of a data key\xff"
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var in struct {
			KeyID          string `json:"KeyId"`
			KeySpec        string
			CiphertextBlob []byte
		}
		_ = json.NewDecoder(r.Body).Decode(&in)
		w.Header().Set("Content-Type", "application/x-amz-json-1.1")
		answer := func(code int, v any) { w.WriteHeader(code); _ = json.NewEncoder(w).Encode(v) }
		switch target := r.Header.Get("X-Amz-Target"); {
		case denied.Load():
			answer(400, map[string]string{"__type": "AccessDeniedException", "message": "not authorized to perform: kms:Decrypt"})
		case target == "TrentService.GenerateDataKeyWithoutPlaintext" && in.KeySpec == "AES_256":
			answer(200, map[string]any{"KeyId": in.KeyID, "CiphertextBlob": []byte(sealed)})
		case target == "TrentService.Decrypt" && string(in.CiphertextBlob) == sealed:
			answer(200, map[string]any{"KeyId": in.KeyID, "Plaintext": strings.TrimSpace(key), "EncryptionAlgorithm": "SYMMETRIC_DEFAULT"})
		default:
			answer(400, map[string]string{"__type": "InvalidCiphertextException", "message": target})
		}
	}))
	t.Cleanup(s.Close)
	return s.URL, denied
}

// The commands of docs/fleet.md, by the real AWS CLI: a key that is made by KMS and is nowhere in plain text.
func TestTheKeyComesFromKMS(t *testing.T) {
	aws, err := exec.LookPath("aws")
	if err != nil {
		t.Skip("needs the AWS CLI")
	}
	key := NewKey()
	url, denied := kms(t, key)
	for name, value := range map[string]string{"AWS_ENDPOINT_URL": url, "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY": "secret",
		"AWS_CONFIG_FILE": "/nonexistent", "AWS_SHARED_CREDENTIALS_FILE": "/nonexistent", "AWS_MAX_ATTEMPTS": "1"} {
		t.Setenv(name, value)
	}
	out, err := exec.Command(aws, "kms", "generate-data-key-without-plaintext", "--region", "eu-west-1", "--key-id", "alias/snaptastic-fleet", "--key-spec", "AES_256",
		"--query", "CiphertextBlob", "--output", "text").Output()
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := base64.StdEncoding.DecodeString(strings.TrimSpace(string(out)))
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "fleet.key.kms")
	if err := os.WriteFile(file, sealed, 0o644); err != nil {
		t.Fatal(err)
	}
	k := config.Key{Command: []string{aws, "kms", "decrypt", "--region", "eu-west-1", "--key-id", "alias/snaptastic-fleet",
		"--ciphertext-blob", "fileb://" + file, "--query", "Plaintext", "--output", "text"}}
	got, err := readKey(t.Context(), k)
	if err != nil || string(got) != string(decoded([]byte(key))) {
		t.Errorf("%v", err)
	}
	denied.Store(true)
	if _, err := readKey(t.Context(), k); err == nil || !strings.Contains(err.Error(), "Run it as this user") || strings.Contains(err.Error(), strings.TrimSpace(key)) {
		t.Errorf("without the permission: %v", err)
	}
}
