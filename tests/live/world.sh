# Ask the world everything a program may ask, one answer a line. $1: python with aioquic, $2: the folder of http3.py
dig +short AAAA any.example
dig +short @198.18.0.53 any.example
dig +short +tcp @198.18.0.53 any.example
dig +short @2001:db8:18::53 any.example
kdig +short +tls @198.18.0.53 any.example
kdig +short +https=/dns-query +tls-hostname=dns.google @198.18.0.53 any.example
for options in "-4 --http1.1" "-4 --tls-max 1.2" "-6"; do
    curl -sS -o /dev/null -w '%{http_code} %{http_version} %{remote_ip}\n' $options https://any.example/
done
curl -sS -o /dev/null -w '%{http_code}\n' http://any.example/status/404
curl -sS https://any.example/bytes/1234567 | wc -c
curl -sS https://other.example/ | grep -c other.example
"$1" "$2/http3.py" https://any.example/ /etc/ssl/certs/ca-certificates.crt
python3 -c 'import urllib.request; print(urllib.request.urlopen("https://py.example/").status)'
openssl s_client -connect any.example:443 -servername any.example </dev/null 2>/dev/null | grep -m1 Verification
certutil -d "sql:$HOME/.pki/nssdb" -L | grep -c 'testbed.*C,,'
ping -c1 -W2 -q any.example | grep -o '1 received'
ping -c1 -W2 -q 2001:db8:19::7 | grep -o '1 received'
ip route get 1.1.1.1 2>&1 | grep -c 'via 100.64.0.1'
ping -c1 -W1 -q 192.0.2.1 2>&1 | grep -o '0 received'
