# Prints the line of dbms/auth.ini for NEO4J_PASSWORD_TO_HASH: user:SHA-256,hash,salt,iterations:flag.
# SHA-256 is written out (FIPS 180-4) because the base system's Perl has no Digest::SHA; 1024 rounds take 0.2 s.
use strict;
use warnings;
use integer;

my @primes;
for (my $n = 2; @primes < 64; $n++) { push @primes, $n unless grep { $n % $_ == 0 } @primes; }
sub fraction { no integer; my ($p, $root) = @_; my $r = $p**(1 / $root); return int(($r - int $r) * 2**32); }
my @K = map { fraction($_, 3) } @primes;
my @H = map { fraction($_, 2) } @primes[ 0 .. 7 ];

sub block {
    my ($state, $text) = @_;
    my @w = unpack 'N16', $text;
    for my $i (16 .. 63) {
        my ($x, $y) = ($w[ $i - 15 ], $w[ $i - 2 ]);
        my $s0 = ($x >> 7 | $x << 25) ^ ($x >> 18 | $x << 14) ^ $x >> 3;
        my $s1 = ($y >> 17 | $y << 15) ^ ($y >> 19 | $y << 13) ^ $y >> 10;
        $w[$i] = $w[ $i - 16 ] + ($s0 & 0xffffffff) + $w[ $i - 7 ] + ($s1 & 0xffffffff) & 0xffffffff;
    }
    my ($a, $b, $c, $d, $e, $f, $g, $h) = @$state;
    for my $i (0 .. 63) {
        my $s1 = ($e >> 6 | $e << 26) ^ ($e >> 11 | $e << 21) ^ ($e >> 25 | $e << 7);
        my $t1 = $h + ($s1 & 0xffffffff) + ($e & $f ^ ~$e & $g & 0xffffffff) + $K[$i] + $w[$i];
        my $s0 = ($a >> 2 | $a << 30) ^ ($a >> 13 | $a << 19) ^ ($a >> 22 | $a << 10);
        my $t2 = ($s0 & 0xffffffff) + ($a & $b ^ $a & $c ^ $b & $c);
        ($h, $g, $f, $e, $d, $c, $b, $a) = ($g, $f, $e, $d + $t1 & 0xffffffff, $c, $b, $a, $t1 + $t2 & 0xffffffff);
    }
    my @add = ($a, $b, $c, $d, $e, $f, $g, $h);
    return [ map { $state->[$_] + $add[$_] & 0xffffffff } 0 .. 7 ];
}

sub sha256 {
    my ($text) = @_;
    my $bits = 8 * length $text;
    $text .= "\x80" . "\0" x ((55 - length $text) % 64 + ((55 - length $text) % 64 < 0 ? 64 : 0)) . pack 'N2', 0, $bits;
    my $state = [@H];
    $state = block($state, substr $text, 64 * $_, 64) for 0 .. length($text) / 64 - 1;
    return pack 'N8', @$state;
}

open my $random, '<:raw', '/dev/urandom' or die "cannot read /dev/urandom: $!\n";
read($random, my $salt, 32) == 32 or die "cannot read /dev/urandom\n";
my $hash = sha256($salt . $ENV{NEO4J_PASSWORD_TO_HASH});
$hash = sha256($hash) for 1 .. 1023;
printf "neo4j:SHA-256,%s,%s,1024:%s\n", unpack('H*', $hash), unpack('H*', $salt), $ARGV[0] // '';
