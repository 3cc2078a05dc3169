package sqlite

import (
	"context"
	"errors"
	"fmt"

	"zombiezen.com/go/sqlite"

	"github.com/example/userd/store"
)

// translate gives the driver's errors their meaning in package store. Others stay
// as they are.
func translate(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	ended := ctx.Err()
	code := sqlite.ErrCode(err).ToPrimary()
	switch {
	case ended != nil && (code == sqlite.ResultInterrupt || !refused(err)):
		return interrupted(ended, err)
	case errors.Is(err, store.ErrUnavailable):
		return err
	case causes[code] != "":
		return store.Unavailable(causes[code], err)
	case damages[code] != "":
		return fmt.Errorf("%s: %w", damages[code], err)
	}
	return err
}

// interrupted is the error of a call whose context has ended.
func interrupted(ended, err error) error {
	if errors.Is(ended, context.DeadlineExceeded) {
		return store.TooLate(tooLate, err)
	}
	return errors.Join(ended, err)
}
