// Compiles Falco's conditions and outputs with Falco's own library (libsinsp):
// each line of standard input is NAME<TAB>CONDITION<TAB>OUTPUT, with macros and
// lists put in. Exit 1 where one is not understood.
#include <cstdlib>
#include <iostream>
#include <new>
#include <string>
#include <unistd.h>
#include <sinsp.h>
#include <filter.h>
#include <filterchecks.h>
#include <eventformatter.h>

int main() {
	// Debian's library is built with options that its headers do not carry, and
	// its objects are larger than they say: give them room, and free nothing.
	const size_t room = 4 << 20;
	auto& inspector = *new (calloc(1, room)) sinsp;
	int failed = 0, rules = 0;
	for (std::string line; std::getline(std::cin, line);) {
		auto a = line.find('\t'), b = line.find('\t', a + 1);
		std::string name = line.substr(0, a);
		rules++;
		try {
			auto& compiler = *new (calloc(1, room)) sinsp_filter_compiler(&inspector, line.substr(a + 1, b - a - 1));
			compiler.compile();
		} catch (const std::exception& e) {
			failed++;
			std::cout << name << ": condition: " << e.what() << "\n";
		}
		try {
			new (calloc(1, room)) sinsp_evt_formatter(&inspector, line.substr(b + 1));
		} catch (const std::exception& e) {
			failed++;
			std::cout << name << ": output: " << e.what() << "\n";
		}
	}
	std::cout << rules << " rules, " << failed << " not understood\n" << std::flush;
	_exit(failed || !rules);
}
