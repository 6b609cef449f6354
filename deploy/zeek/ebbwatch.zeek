##! What Ebbwatch needs of Zeek beside the stock logs:
##!
##!   dns_exfil.log   features of each DNS transaction
##!   icmp_echo.log   each echo and echo reply with hashes of its content, so that
##!                   the detector icmp-tunnel sees what tunnels do in pings
##!
##! Load it in local.zeek: @load ebbwatch
##! ingest-zeek reads both logs beside dns.log and conn.log, in TSV and JSON, and
##! never counts a name twice.
##!
##! dns_exfil.log. The names that the requirement fixes keep their meaning:
##!   subdomain_entropy  Shannon entropy (bits/byte) of the leftmost label, as sent
##!                      on the wire (Zeek's own `query` is lower-cased)
##!   label_length       length in bytes of the leftmost label
##!   txt_response_size  bytes of TXT character-strings in the answer section
##! Added, because tunnels that do not use TXT need them:
##!   query_length, response_size (whole DNS message), answer_count, rcode_name, proto
##! This part was tried on Zeek 8.2.2.
##!
##! icmp_echo.log. One line for each message between a local address and another
##! network (Site::local_nets), IPv4 and IPv6, up to max_echoes for each pair of
##! addresses an hour:
##!   is_orig         the message comes from id.orig_h
##!   icmp_type, icmp_code, icmp_id, icmp_seq
##!   payload_length  bytes after the 8-byte ICMP header
##!   payload_hash    the first 8 bytes of their MD5, in hex: an echo comes back as
##!                   it was sent, a tunnel's does not
##!   content_hash    the same without a leading timestamp, which pings write anew
##!                   into each echo; equal to payload_hash where there is none

@load base/protocols/dns
@load base/utils/site

module DNSExfil;

export {
	redef enum Log::ID += { LOG };

	type Info: record {
		ts:                time            &log;
		uid:               string          &log;
		id:                conn_id         &log;
		proto:             transport_proto &log &optional;
		query:             string          &log &optional;
		qtype_name:        string          &log &optional;
		rcode_name:        string          &log &optional;
		rtt:               interval        &log &optional;
		subdomain_entropy: double          &log &default=0.0;
		label_length:      count           &log &default=0;
		query_length:      count           &log &default=0;
		txt_response_size: count           &log &default=0;
		response_size:     count           &log &default=0;
		answer_count:      count           &log &default=0;
	};

	## Also raise a notice-free event, for scripts that want the record.
	global log_dns_exfil: event(rec: Info);

	global log_policy: Log::PolicyHook;
}

# Per-transaction features travel with Zeek's own record for the transaction
# (not &log: dns.log stays as it is).
redef record DNS::Info += {
	exfil_raw_query:     string &optional;
	exfil_txt_size:      count  &default=0;
	exfil_response_size: count  &default=0;
	exfil_answer_count:  count  &default=0;
};

event zeek_init() &priority=5
	{
	Log::create_stream(DNSExfil::LOG, [$columns=Info, $path="dns_exfil",
	                   $ev=log_dns_exfil, $policy=log_policy]);
	}

function shannon_entropy(s: string): double
	{
	local n = |s|;
	if ( n == 0 )
		return 0.0;

	local counts: table[string] of count &default=0;

	# Iterating over a string yields its characters, not indices.
	for ( ch in s )
		++counts[ch];

	local entropy = 0.0;
	for ( _, cnt in counts )
		{
		local p = cnt / (n + 0.0);
		entropy -= p * log2(p);
		}

	return entropy;
	}

# The six-argument form has the name as it was on the wire.
event dns_request(c: connection, msg: dns_msg, query: string, qtype: count,
                  qclass: count, original_query: string) &priority=1
	{
	if ( c?$dns )
		c$dns$exfil_raw_query = original_query;
	}

event dns_message(c: connection, is_orig: bool, msg: dns_msg, len: count) &priority=1
	{
	# c$dns is the transaction of this message: the base script's
	# set_session hook runs at priority 5 of this same event.
	if ( msg$QR && c?$dns )
		{
		c$dns$exfil_response_size = len;
		c$dns$exfil_answer_count = msg$num_answers;
		}
	}

event dns_TXT_reply(c: connection, msg: dns_msg, ans: dns_answer, strs: string_vec) &priority=1
	{
	if ( ! c?$dns || ans$answer_type != DNS_ANS )
		return;

	for ( _, str in strs )
		c$dns$exfil_txt_size += |str|;
	}

# Raised once per transaction when dns.log's line is written: request and answer are both in.
event DNS::log_dns(rec: DNS::Info)
	{
	if ( ! rec?$query )
		return;

	local raw = rec?$exfil_raw_query ? rec$exfil_raw_query : rec$query;
	local labels = split_string1(raw, /\./);
	local first_label = labels[0];

	local info = DNSExfil::Info($ts=rec$ts, $uid=rec$uid, $id=rec$id,
	                            $query=rec$query,
	                            $subdomain_entropy=shannon_entropy(first_label),
	                            $label_length=|first_label|,
	                            $query_length=|raw|,
	                            $txt_response_size=rec$exfil_txt_size,
	                            $response_size=rec$exfil_response_size,
	                            $answer_count=rec$exfil_answer_count);

	info$proto = rec$proto;
	if ( rec?$qtype_name )
		info$qtype_name = rec$qtype_name;
	if ( rec?$rcode_name )
		info$rcode_name = rec$rcode_name;
	if ( rec?$rtt )
		info$rtt = rec$rtt;

	Log::write(DNSExfil::LOG, info);
	}

module ICMPEcho;

export {
	redef enum Log::ID += { LOG };

	type Info: record {
		ts:             time    &log;
		uid:            string  &log;
		id:             conn_id &log;
		is_orig:        bool    &log;
		icmp_type:      count   &log;
		icmp_code:      count   &log;
		icmp_id:        count   &log;
		icmp_seq:       count   &log;
		payload_length: count   &log;
		payload_hash:   string  &log;
		content_hash:   string  &log;
	};

	## Lines for each pair of addresses an hour: the detector needs far fewer, and
	## a flood of pings must not fill the disk.
	option max_echoes = 5000;

	## Log echoes between two local addresses too.
	option log_local = F;

	global log_icmp_echo: event(rec: Info);

	global log_policy: Log::PolicyHook;
}

global written: table[addr, addr] of count &create_expire=1hr &default=0;

event zeek_init() &priority=5
	{
	Log::create_stream(ICMPEcho::LOG, [$columns=Info, $path="icmp_echo",
	                   $ev=log_icmp_echo, $policy=log_policy]);
	}

# The first 8 bytes of MD5: a name for a content, not a proof of it.
function name_of(data: string): string
	{
	return sub_bytes(md5_hash(data), 1, 16);
	}

# Whether a count of seconds is within a day of the packet's time.
function near(seconds: count): bool
	{
	local now = double_to_count(time_to_double(network_time()));
	return seconds + 86400 >= now && seconds <= now + 86400;
	}

# The length of the time that senders put in front of the data: timeval or
# timespec of 64 or 32 bits, in either byte order. 0 for none.
function timestamp_length(data: string): count
	{
	local orders = vector(T, F);
	if ( |data| >= 16 )
		{
		for ( _, little in orders )
			{
			if ( bytestring_to_count(sub_bytes(data, 9, 8), little) < 1000000000 &&
			     near(bytestring_to_count(sub_bytes(data, 1, 8), little)) )
				return 16;
			}
		}

	if ( |data| >= 8 )
		{
		for ( _, little in orders )
			{
			if ( bytestring_to_count(sub_bytes(data, 5, 4), little) < 1000000000 &&
			     near(bytestring_to_count(sub_bytes(data, 1, 4), little)) )
				return 8;
			}
		}

	return 0;
	}

function echo(c: connection, info: icmp_info, id: count, seq: count, payload: string)
	{
	if ( ! log_local && Site::is_local_addr(c$id$orig_h) && Site::is_local_addr(c$id$resp_h) )
		return;

	if ( ++written[c$id$orig_h, c$id$resp_h] > max_echoes )
		return;

	# The port of the originator is the type of its first message: whoever sends
	# that type is the originator.
	local is_orig = port_to_count(c$id$orig_p) == info$itype;
	local whole = name_of(payload);
	local skip = timestamp_length(payload);
	local content = skip == 0 ? whole : name_of(sub_bytes(payload, skip + 1, |payload| - skip));

	Log::write(ICMPEcho::LOG, Info($ts=network_time(), $uid=c$uid, $id=c$id, $is_orig=is_orig,
	                               $icmp_type=info$itype, $icmp_code=info$icode,
	                               $icmp_id=id, $icmp_seq=seq, $payload_length=|payload|,
	                               $payload_hash=whole, $content_hash=content));
	}

event icmp_echo_request(c: connection, info: icmp_info, id: count, seq: count, payload: string)
	{
	echo(c, info, id, seq, payload);
	}

event icmp_echo_reply(c: connection, info: icmp_info, id: count, seq: count, payload: string)
	{
	echo(c, info, id, seq, payload);
	}
