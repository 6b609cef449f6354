package cloudtrail

import (
	"net/netip"
	"net/url"
	"strings"

	"github.com/ebbwatch/ebbwatch/pkg/decode/rawjson"
)

// policy reads the policy document of a resource, given as an object or as
// text, and adds whom its Allow statements let in.
func (g *grants) policy(v rawjson.Value) {
	if !rawjson.IsObject(v) {
		text := rawjson.Text(v)
		if strings.HasPrefix(text, "%7B") {
			if decoded, err := url.QueryUnescape(text); err == nil {
				text = decoded
			}
		}
		var doc struct {
			Statement rawjson.Value `json:"Statement"`
		}
		if rawjson.Parse([]byte(text), &doc) == nil {
			g.statements(doc.Statement)
		}
		return
	}
	g.statements(rawjson.Get(v, "Statement"))
}

func (g *grants) statements(v rawjson.Value) {
	for statement := range rawjson.Each(v) {
		if !strings.EqualFold(rawjson.Text(rawjson.Get(statement, "Effect")), "Allow") {
			continue
		}
		limit := readCondition(rawjson.Get(statement, "Condition"))
		if len(rawjson.Get(statement, "NotPrincipal")) > 0 {
			g.everyone(limit) // all but those named
		}
		who := rawjson.Get(statement, "Principal")
		if rawjson.Text(who) == "*" {
			g.everyone(limit)
			continue
		}
		for kind, list := range rawjson.Object(who) {
			if kind == "Service" {
				// A service acts for others: the condition says for whom.
				for _, account := range limit.accounts {
					g.principal(account)
				}
				continue
			}
			for p := range rawjson.Each(list) {
				if s := rawjson.Scalar(p); s == "*" {
					g.everyone(limit)
				} else {
					g.principal(s)
				}
			}
		}
	}
}

// everyone adds those of "*" whom a condition leaves: accounts if it names
// any, since all its parts must hold, else networks, else the world.
func (g *grants) everyone(limit limit) {
	switch {
	case len(limit.accounts) > 0:
		for _, account := range limit.accounts {
			g.principal(account)
		}
	case len(limit.networks) > 0:
		for _, network := range limit.networks {
			g.target(network)
		}
	default:
		g.public = true
	}
}

// limit is whom a condition leaves.
type limit struct {
	accounts []string // accounts, organisations, arns
	networks []string // prefixes, VPCs, VPC endpoints
}

// readCondition reads what a condition demands of the caller. A part that
// holds for any value, or when its key is absent from the request, demands
// nothing.
func readCondition(v rawjson.Value) (l limit) {
	for operator, keys := range rawjson.Object(v) {
		if !demands(operator) {
			continue
		}
		for key, values := range rawjson.Object(keys) {
			switch strings.ToLower(key) {
			case "aws:principalorgid", "aws:principalorgpaths", "aws:principalaccount", "aws:principalarn", "aws:sourceaccount",
				"aws:sourcearn", "aws:sourceorgid", "aws:sourceorgpaths", "aws:sourceowner", "kms:calleraccount", "s3:dataaccesspointaccount":
				l.accounts = append(l.accounts, strict(values, accountPart)...)
			case "aws:sourceip", "aws:vpcsourceip", "aws:sourcevpc", "aws:sourcevpce":
				l.networks = append(l.networks, strict(values, networkPart)...)
			}
		}
	}
	return l
}

// demands reports whether an operator fails for a request that lacks the key
// or has another value.
func demands(operator string) bool {
	operator = strings.ToLower(operator)
	if strings.HasSuffix(operator, "ifexists") || strings.HasPrefix(operator, "forallvalues:") {
		return false
	}
	switch strings.TrimPrefix(operator, "foranyvalue:") {
	case "stringequals", "stringequalsignorecase", "stringlike", "arnequals", "arnlike", "ipaddress":
		return true
	}
	return false
}

// strict returns the parts of all values that say who; none at all if one of
// the values, any of which suffices, is open.
func strict(values rawjson.Value, part func(string) (who string, open bool)) (all []string) {
	for v := range rawjson.Each(values) {
		who, open := part(rawjson.Scalar(v))
		if open {
			return nil
		}
		all = append(all, who)
	}
	return all
}

// accountPart takes a value to the part that decides who is meant: the account
// of an arn, the organisation of a path in it. It is open if a pattern stands
// there.
func accountPart(s string) (who string, open bool) {
	who = s
	switch account := accountOf(s); {
	case strings.HasPrefix(s, "arn:aws:s3:") && (account == "" || account == "*"):
		who = "arn:aws:s3:::" + s[strings.LastIndexByte(s, ':')+1:] // bucket names are unique
	case account != "":
		who = account
	case strings.HasPrefix(s, "o-"):
		who, _, _ = strings.Cut(s, "/")
	}
	return who, who == "" || strings.ContainsAny(who, "*?$")
}

// networkPart is open for prefixes that are a large part of the internet.
func networkPart(s string) (who string, open bool) {
	if p, err := netip.ParsePrefix(s); err == nil {
		return s, p.Bits() < 8
	}
	return s, s == "" || strings.ContainsAny(s, "*?$")
}
