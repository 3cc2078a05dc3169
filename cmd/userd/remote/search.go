package remote

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/example/userd/cmd/userd/cli"
	userv1 "github.com/example/userd/gen/user/v1"
	"github.com/example/userd/gen/user/v1/userv1connect"
)

// pageSize is what a search asks for at a time.
const pageSize = 100

type search struct {
	request    userv1.SearchUsersRequest
	limit      int
	disabled   bool
	attributes []string
	inactive   string
	after      string
	before     string
}

func searchCommand() *cobra.Command {
	var c command
	var s search
	cmd := &cobra.Command{
		Use:     "search",
		Short:   "Find users that match all filters",
		Example: "  userd search --email-prefix ada\n  userd search --role admin --disabled=false --inactive-since 2026-01-01\n  userd search --attribute tenant=acme --newest-first --limit 10",
		Args:    exactly(0, "flags only"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := cmp.Or(checkLimit(s.limit), s.settle(cmd)); err != nil {
				return cli.Wrong(err)
			}
			return c.run(cmd, s.run)
		},
	}
	c.register(cmd)
	flags := cmd.Flags()
	flags.StringVar(&s.request.EmailPrefix, "email-prefix", "", "start of the email address")
	flags.StringVar(&s.request.NameContains, "name", "", "part of the display name")
	flags.StringVar(&s.request.Role, "role", "", "a role that the user has")
	flags.BoolVar(&s.disabled, "disabled", false, "users who are disabled, or, with =false, who are not")
	flags.StringArrayVar(&s.attributes, "attribute", nil, "an attribute that the user has, `NAME=VALUE`; may come several times")
	flags.StringVar(&s.inactive, "inactive-since", "", "users without a login since this `time`, 2026-01-31 or 2026-01-31T12:00:00Z")
	flags.StringVar(&s.after, "created-after", "", "users created at this `time` or later")
	flags.StringVar(&s.before, "created-before", "", "users created before this `time`")
	flags.BoolVar(&s.request.NewestFirst, "newest-first", false, "begin with the newest user")
	flags.IntVar(&s.limit, "limit", 0, "most users to show; 0 for all")
	return cmd
}

// settle takes what the flags say into the request.
func (s *search) settle(cmd *cobra.Command) (err error) {
	if cmd.Flags().Changed("disabled") {
		s.request.Disabled = &s.disabled
	}
	if s.request.Attributes, err = pairs("--attribute", s.attributes); err != nil {
		return err
	}
	for flag, at := range map[string]struct {
		text string
		to   **timestamppb.Timestamp
	}{
		"--inactive-since": {s.inactive, &s.request.InactiveSince},
		"--created-after":  {s.after, &s.request.CreatedAfter},
		"--created-before": {s.before, &s.request.CreatedBefore},
	} {
		if *at.to, err = parseTime(flag, at.text); err != nil {
			return err
		}
	}
	return nil
}

func (s *search) run(ctx context.Context, users userv1connect.UserServiceClient, out *printer) error {
	s.request.PageSize = pageSize
	for shown := 0; ; {
		if s.limit > 0 {
			s.request.PageSize = int32(min(pageSize, s.limit-shown))
		}
		page, err := users.SearchUsers(ctx, &s.request)
		if err != nil {
			return err
		}
		for _, user := range page.GetUsers() {
			if err := out.row(user); err != nil {
				return err
			}
		}
		shown += len(page.GetUsers())
		s.request.PageToken = page.GetNextPageToken()
		if s.request.PageToken == "" || s.limit > 0 && shown >= s.limit {
			return nil
		}
	}
}

// pairs takes NAME=VALUE apart.
func pairs(flag string, list []string) (map[string]string, error) {
	result := make(map[string]string, len(list))
	for _, pair := range list {
		name, value, ok := strings.Cut(pair, "=")
		if !ok {
			return nil, fmt.Errorf("%s must be NAME=VALUE", flag)
		}
		if _, twice := result[name]; twice {
			return nil, fmt.Errorf("%s names %s twice", flag, printable(name))
		}
		result[name] = value
	}
	return result, nil
}

// parseTime reads a day or a time. An empty one is none.
func parseTime(flag, text string) (*timestamppb.Timestamp, error) {
	if text == "" {
		return nil, nil
	}
	for _, form := range []string{time.DateOnly, time.RFC3339} {
		if at, err := time.Parse(form, text); err == nil {
			return timestamppb.New(at), nil
		}
	}
	return nil, errors.New(flag + " must be a day or a time, such as 2026-01-31 or 2026-01-31T12:00:00Z")
}
