package rows

import (
	"encoding/json"
	"errors"

	userv1 "github.com/example/userd/gen/user/v1"
)

// auth0User is what of a user of an export of Auth0 is kept.
type auth0User struct {
	UserID        string                     `json:"user_id"`
	Email         string                     `json:"email"`
	EmailVerified bool                       `json:"email_verified"`
	Name          string                     `json:"name"`
	GivenName     string                     `json:"given_name"`
	FamilyName    string                     `json:"family_name"`
	Nickname      string                     `json:"nickname"`
	Picture       string                     `json:"picture"`
	PhoneNumber   string                     `json:"phone_number"`
	Blocked       bool                       `json:"blocked"`
	CreatedAt     string                     `json:"created_at"`
	LastLogin     string                     `json:"last_login"`
	UserMetadata  map[string]json.RawMessage `json:"user_metadata"`
	AppMetadata   map[string]json.RawMessage `json:"app_metadata"`
}

func parseAuth0(text []byte) (user *userv1.CreateUserRequest, err error) {
	var from auth0User
	if err := unmarshalObject(text, &from); err != nil {
		return nil, errors.New("this is no user of Auth0: " + err.Error())
	}
	user = &userv1.CreateUserRequest{
		ExternalId: from.UserID, Email: from.Email, Disabled: from.Blocked,
		DisplayName: firstOf(from.Name, from.GivenName+" "+from.FamilyName, from.Nickname, from.Email),
	}
	if from.CreatedAt != "" {
		if user.CreatedAt, err = parseTime(from.CreatedAt); err != nil {
			return nil, errors.New("created_at: " + err.Error())
		}
	}
	if from.LastLogin != "" {
		if user.LastLogin, err = parseTime(from.LastLogin); err != nil {
			return nil, errors.New("last_login: " + err.Error())
		}
	}
	names := newRenaming(user)
	names.text("picture", "picture", from.Picture)
	names.text("phone_number", "phone_number", from.PhoneNumber)
	if from.EmailVerified {
		names.text("email_verified", "email_verified", "true")
	}
	names.values("user_metadata.", "user_metadata.", from.UserMetadata)
	names.values("app_metadata.", "app_metadata.", from.AppMetadata)
	return user, names.err
}
