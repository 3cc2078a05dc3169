package rows

import (
	"encoding/json"
	"errors"

	userv1 "github.com/example/userd/gen/user/v1"
)

// firebaseUser is what of a user of `firebase auth:export` is kept.
type firebaseUser struct {
	LocalID          string `json:"localId"`
	Email            string `json:"email"`
	EmailVerified    bool   `json:"emailVerified"`
	DisplayName      string `json:"displayName"`
	PhotoURL         string `json:"photoUrl"`
	PhoneNumber      string `json:"phoneNumber"`
	Disabled         bool   `json:"disabled"`
	CreatedAt        int64  `json:"createdAt,string"`
	LastSignedInAt   int64  `json:"lastSignedInAt,string"`
	CustomAttributes string `json:"customAttributes"` // JSON.
}

func parseFirebase(text []byte) (*userv1.CreateUserRequest, error) {
	var from firebaseUser
	if err := unmarshalObject(text, &from); err != nil {
		return nil, errors.New("this is no user of Firebase: " + err.Error())
	}
	user := &userv1.CreateUserRequest{
		ExternalId: from.LocalID, Email: from.Email, DisplayName: firstOf(from.DisplayName, from.Email), Disabled: from.Disabled,
		CreatedAt: milliseconds(from.CreatedAt), LastLogin: milliseconds(from.LastSignedInAt),
	}
	names := newRenaming(user)
	names.text("photoUrl", "photo_url", from.PhotoURL)
	names.text("phoneNumber", "phone_number", from.PhoneNumber)
	if from.EmailVerified {
		names.text("emailVerified", "email_verified", "true")
	}
	if from.CustomAttributes != "" {
		var claims map[string]json.RawMessage
		if json.Unmarshal([]byte(from.CustomAttributes), &claims) != nil {
			return nil, errors.New("customAttributes: must be a JSON object")
		}
		names.values("customAttributes.", "claims.", claims)
	}
	return user, names.err
}
