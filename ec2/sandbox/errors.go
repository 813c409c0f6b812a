package sandbox

import (
	"errors"
	"fmt"
	"net/http"
)

// refusal is an error answer with an EC2 error code, as listed in "Error codes for the Amazon EC2 API".
type refusal struct {
	Code    string
	Message string
	Status  int
}

func (r *refusal) Error() string { return r.Code + ": " + r.Message }

// refuse returns a refusal with the HTTP status that EC2 uses for the code.
func refuse(code, format string, args ...any) error {
	return &refusal{Code: code, Message: fmt.Sprintf(format, args...), Status: statusOf(code)}
}

func statusOf(code string) int {
	switch code {
	case "AuthFailure":
		return http.StatusUnauthorized
	case "UnauthorizedOperation":
		return http.StatusForbidden
	case "DryRunOperation":
		return http.StatusPreconditionFailed
	case "InternalError", "InternalFailure":
		return http.StatusInternalServerError
	case "RequestLimitExceeded", "ServiceUnavailable", "Unavailable", "InsufficientInstanceCapacity":
		return http.StatusServiceUnavailable
	}
	return http.StatusBadRequest
}

// asRefusal converts any error into an answer: an error that is not a refusal is a failure of the sandbox and becomes
// InternalError.
func asRefusal(err error) *refusal {
	if r, ok := errors.AsType[*refusal](err); ok {
		return r
	}
	return &refusal{Code: "InternalError", Message: "sandbox: " + err.Error(), Status: http.StatusInternalServerError}
}
