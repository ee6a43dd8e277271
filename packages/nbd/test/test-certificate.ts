/**
 * A certificate for localhost that vouches for itself, and its key, which is no secret: for tests. Valid until the year 2126. Made with
 * `openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 36500 -subj /CN=localhost`
 * `-addext subjectAltName=DNS:localhost,IP:127.0.0.1`
 */
export const TEST_KEY = `-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgbEqUzyBbdf1oe61l
DGveGmzQSILXfRQj+N54m0wPS8ShRANCAAToHt2kQUvy8KAfcBzUmF2ynutB3Ikn
oWrcrcRAzXVTnfgmNacElwZTBkP5sT7FznCvmy9IbRkpJ2W1WtcMYLuO
-----END PRIVATE KEY-----
`;
export const TEST_CERTIFICATE = `-----BEGIN CERTIFICATE-----
MIIBnDCCAUGgAwIBAgIUXn/uhLW1xOMiziuroN392VGpJUEwCgYIKoZIzj0EAwIw
FDESMBAGA1UEAwwJbG9jYWxob3N0MCAXDTI2MTEyMDE1MTcyMFoYDzIxMjYxMDI3
MTUxNzIwWjAUMRIwEAYDVQQDDAlsb2NhbGhvc3QwWTATBgcqhkjOPQIBBggqhkjO
PQMBBwNCAAToHt2kQUvy8KAfcBzUmF2ynutB3IknoWrcrcRAzXVTnfgmNacElwZT
BkP5sT7FznCvmy9IbRkpJ2W1WtcMYLuOo28wbTAdBgNVHQ4EFgQUqwCi2QmQXgv/
F8rKdn4c0oWqE48wHwYDVR0jBBgwFoAUqwCi2QmQXgv/F8rKdn4c0oWqE48wDwYD
VR0TAQH/BAUwAwEB/zAaBgNVHREEEzARgglsb2NhbGhvc3SHBH8AAAEwCgYIKoZI
zj0EAwIDSQAwRgIhAIqsxaa/TLdCgdSE/Ngq03/U9SnjktytGArqMCbzolbxAiEA
0uw39DOvf1jWlGzhAfK2fsUxkPDgARTtM3T6YttaPg4=
-----END CERTIFICATE-----
`;
