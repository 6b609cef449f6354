package cloudtrail

import (
	"net/netip"
	"strings"

	"github.com/ebbwatch/ebbwatch/pkg/decode/rawjson"
	"github.com/ebbwatch/ebbwatch/pkg/event"
)

// Anonymous is the User.ID of unauthenticated callers.
const Anonymous = "anonymous"

// caller sets where the call came from: an address, or the name of the AWS
// service that made it on someone's behalf.
func caller(e *event.Event, source string) {
	if ip, err := netip.ParseAddr(source); err == nil {
		e.Source.IP = ip.Unmap().WithZone("")
	} else {
		e.Source.Address = source
	}
}

// identify sets the user: its ID is the stable principal (formats.md §5.4).
func identify(e *event.Event, identity rawjson.Value) {
	var id struct {
		Type      rawjson.Value `json:"type"`
		Principal rawjson.Value `json:"principalId"`
		ARN       rawjson.Value `json:"arn"`
		Account   rawjson.Value `json:"accountId"`
		UserName  rawjson.Value `json:"userName"`
		InvokedBy rawjson.Value `json:"invokedBy"`
		Context   rawjson.Value `json:"sessionContext"`
		OnBehalf  rawjson.Value `json:"onBehalfOf"`
	}
	if !rawjson.IsObject(identity) || rawjson.ParseScanned(identity, &id) != nil {
		return
	}
	u := &e.User
	name, principal, account := rawjson.Text(id.ARN), rawjson.Text(id.Principal), rawjson.Text(id.Account)
	u.Type, u.Name, u.Account = rawjson.Text(id.Type), rawjson.Text(id.UserName), account
	if u.Account == "" {
		u.Account = accountOf(name)
	}
	switch u.Type {
	case "AssumedRole", "FederatedUser":
		issuer := rawjson.Get(id.Context, "sessionIssuer")
		role, session := roleOf(name)
		u.ID, u.Session = rawjson.Text(rawjson.Get(issuer, "arn")), session
		if u.ID == "" {
			u.ID = role
		}
		if session == "" {
			_, u.Session, _ = strings.Cut(principal, ":")
		}
		if issued := rawjson.Text(rawjson.Get(issuer, "userName")); issued != "" {
			u.Name = issued
		} else if i := strings.LastIndexByte(role, '/'); u.Name == "" && i >= 0 {
			u.Name = role[i+1:]
		}
	case "Root":
		if u.ID = name; name == "" && account != "" {
			u.ID = "arn:aws:iam::" + account + ":root"
		}
	case "AWSService":
		u.ID = rawjson.Text(id.InvokedBy)
	case "AWSAccount":
		unique, session, _ := strings.Cut(principal, ":")
		switch {
		case strings.EqualFold(account, Anonymous) || strings.EqualFold(account, "ANONYMOUS_PRINCIPAL"):
			u.ID, u.Account = Anonymous, ""
		case unique != "" && unique != account:
			// The owner's copy of a call from another account is reduced.
			u.ID, u.Session = account+"/"+unique, session
		default:
			u.ID = account
		}
	case "IdentityCenterUser":
		u.ID = rawjson.Text(rawjson.Get(id.OnBehalf, "userId"))
	case "SAMLUser", "WebIdentityUser":
		u.ID = principal // PROVIDER:SUBJECT; there is no arn yet
	default:
		u.ID = name
	}
	if u.ID == "" {
		u.ID = fallback(name, principal, rawjson.Text(id.InvokedBy), u)
	}
}

// fallback is the best that an identity gives which lacks what its type has.
func fallback(name, principal, invokedBy string, u *event.User) string {
	unique, _, _ := strings.Cut(principal, ":")
	switch {
	case name != "":
		return name
	case u.Type == "" && invokedBy != "":
		return invokedBy
	case unique != "":
		return unique
	case u.Name != "" && u.Account != "":
		return u.Account + "/" + u.Name
	case u.Name != "":
		return u.Name
	case invokedBy != "":
		return invokedBy
	}
	return u.Account
}

// roleOf takes the arn of a session, arn:aws:sts::ACCOUNT:assumed-role/ROLE/
// SESSION, apart into the role's arn and the session. The role's path is not
// in it: where the role has one, this is not what sessionIssuer says.
func roleOf(session string) (role, name string) {
	prefix, rest, found := strings.Cut(session, ":assumed-role/")
	if !found {
		if i := strings.LastIndexByte(session, '/'); i >= 0 {
			name = session[i+1:]
		}
		return "", name
	}
	short, name, _ := strings.Cut(rest, "/")
	partition := "aws"
	if parts := strings.SplitN(prefix, ":", 3); len(parts) == 3 {
		partition = parts[1]
	}
	return "arn:" + partition + ":iam::" + accountOf(session) + ":role/" + short, name
}

// accountOf returns the account of an arn, "" if it has none.
func accountOf(arn string) string {
	if !strings.HasPrefix(arn, "arn:") {
		return ""
	}
	for range 4 {
		_, rest, found := strings.Cut(arn, ":")
		if !found {
			return ""
		}
		arn = rest
	}
	account, _, _ := strings.Cut(arn, ":")
	return account
}
