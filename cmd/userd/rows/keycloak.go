package rows

import (
	"errors"
	"strings"

	userv1 "github.com/example/userd/gen/user/v1"
)

// keycloakUser is what of a user of a realm export of Keycloak is kept.
type keycloakUser struct {
	ID               string              `json:"id"`
	Username         string              `json:"username"`
	Email            string              `json:"email"`
	EmailVerified    bool                `json:"emailVerified"`
	FirstName        string              `json:"firstName"`
	LastName         string              `json:"lastName"`
	Enabled          *bool               `json:"enabled"`
	CreatedTimestamp int64               `json:"createdTimestamp"`
	Attributes       map[string][]string `json:"attributes"`
	RealmRoles       []string            `json:"realmRoles"`
}

func parseKeycloak(text []byte) (*userv1.CreateUserRequest, error) {
	var from keycloakUser
	if err := unmarshalObject(text, &from); err != nil {
		return nil, errors.New("this is no user of Keycloak: " + err.Error())
	}
	user := &userv1.CreateUserRequest{
		ExternalId: from.ID, Email: from.Email, DisplayName: firstOf(from.FirstName+" "+from.LastName, from.Username, from.Email),
		Disabled: from.Enabled != nil && !*from.Enabled, CreatedAt: milliseconds(from.CreatedTimestamp),
	}
	for _, role := range from.RealmRoles {
		user.Roles = append(user.Roles, nameOf(role))
	}
	setText(user, "username", from.Username)
	if from.EmailVerified {
		setText(user, "email_verified", "true")
	}
	for name, values := range from.Attributes {
		setText(user, nameOf(name), strings.Join(values, ","))
	}
	return user, nil
}
