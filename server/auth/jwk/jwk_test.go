package jwk

import (
	"encoding/base64"
	"encoding/json"
	"testing"

	"github.com/example/userd/server/auth/authtest"
)

func TestKeysOfNoUse(t *testing.T) {
	t.Parallel()
	issuer := authtest.NewIssuer(t)
	var set struct{ Keys []map[string]any }
	if err := json.Unmarshal([]byte(issuer.Set()), &set); err != nil {
		t.Fatal(err)
	}
	change := func(name string, value any) string {
		key := map[string]any{}
		for n, v := range set.Keys[0] {
			key[n] = v
		}
		if key[name] = value; value == nil {
			delete(key, name)
		}
		text, err := json.Marshal(key)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	short := `{"kty":"RSA","e":"AQAB","n":"` + base64.RawURLEncoding.EncodeToString(append([]byte{0xff}, make([]byte, 127)...)) + `"}`
	for name, test := range map[string]struct {
		keys string
		want int
	}{
		"good":             {change("use", "sig"), 1},
		"no use":           {change("use", nil), 1},
		"no id":            {change("kid", nil), 1},
		"for verification": {change("key_ops", []string{"verify"}), 1},
		"for encryption":   {change("use", "enc"), 0},
		"for signing":      {change("key_ops", []string{"encrypt"}), 0},
		"unknown kind":     {change("kty", "AKP"), 0},
		"unknown curve":    {change("crv", "secp256k1"), 0},
		"no point":         {change("x", "AAAA"), 0},
		"no coordinate":    {change("y", nil), 0},
		"shared secret":    {`{"kty":"oct","k":"c2VjcmV0","kid":"first","alg":"HS256"}`, 0},
		"short RSA":        {short, 0},
		"no list of uses":  {change("key_ops", "verify"), 0},
		"id of no kind":    {change("kid", 7), 0},
		"no key":           {`"first"`, 0},
		"same once more":   {change("use", "sig") + "," + change("use", nil), 1},
		"same id":          {change("use", "sig") + "," + change("alg", "ES256"), 2},
		"X25519":           {`{"kty":"OKP","crv":"X25519","x":"` + base64.RawURLEncoding.EncodeToString(make([]byte, 32)) + `"}`, 0},
	} {
		for _, others := range []int{0, 1} {
			text := `{"keys":[` + test.keys + `]}`
			if others > 0 {
				text = `{"keys":[` + test.keys + "," + change("kid", "other") + `]}`
			}
			keys, err := Parse(text)
			switch {
			case test.want+others == 0 && err == nil, test.want+others > 0 && err != nil:
				t.Errorf("%s: error is %v", name, err)
			case err == nil && keys.Len() != test.want+others:
				t.Errorf("%s: %d keys, want %d", name, keys.Len(), test.want+others)
			}
		}
	}
	for _, text := range []string{"", "{}", "[]", "nothing", `{"keys":{}}`, issuer.Set() + "x", set.Keys[0]["x"].(string)} {
		if _, err := Parse(text); err == nil {
			t.Errorf("%.30q is taken for keys", text)
		}
	}
	key, err := Parse(`{"keys":[` + change("alg", "ES256") + `]}`)
	if err != nil || len(key.Find("first", "ES256")) != 1 || key.Find("first", "ES384") != nil || key.Find("first", "RS256") != nil {
		t.Errorf("a key is for another algorithm: %v", err)
	}
}

// FuzzKeys looks for what panics.
func FuzzKeys(f *testing.F) {
	f.Add(`{"keys":[{"kty":"RSA","n":"AQAB","e":"AQAB"},{"kty":"EC","crv":"P-256","x":"AA","y":"AA"}]}`)
	f.Fuzz(func(t *testing.T, text string) {
		keys, err := Parse(text)
		if (keys == nil) == (err == nil) {
			t.Fatalf("%v and %v", keys, err)
		}
	})
}
