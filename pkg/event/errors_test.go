package event_test

import "errors"

func isErr(err, want error) bool { return errors.Is(err, want) }
