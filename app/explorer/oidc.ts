// Sign-in at an OpenID Connect issuer: authorization code with PKCE, in the browser alone. Loaded only when it is needed.

/** What the server says of its issuer. */
export interface Issuer {
  issuer: string;
  clientId: string;
  audience: string;
  scopes: string;
}

/** A key that a person entered, or a token of the issuer. */
export interface Session {
  key: string;
  token?: Token;
}

/** Times of a token: those of the issuer's clock in seconds, and of this browser's in milliseconds; never compared. */
interface Token {
  startsAt: number;
  endsAt: number;
  since: number;
  renewAt: number;
  refreshToken: string | null;
}

/** A sign-out that waits for the issuer, kept in the tab because the page is left meanwhile. */
interface Ended {
  state: string;
  href: string;
}

/** A sign-in that waits for the issuer's answer, kept in the same way. */
interface Started {
  state: string;
  nonce: string;
  verifier: string;
  href: string;
}

interface Tokens {
  access_token?: string;
  id_token?: string;
  refresh_token?: string;
}

type Claims = { iss?: string; aud?: string | string[]; nonce?: string; iat?: number; nbf?: number; exp?: number };

const STARTED = "loomql:sign-in";
const ENDED = "loomql:sign-out";
/** Time in milliseconds before its end at which a token is renewed, so that no request is under way with an old one. */
const AHEAD = 30_000;
/** Lifetime in seconds of a token that names no time at which it was made. */
const USUAL = 300;
/** Time in milliseconds by which the time of a response may be behind the server's clock. */
const ROUNDED = 2_000;

const redirectUri = () => window.location.href.split(/[?#]/)[0] as string;
const encoded = (bytes: Uint8Array) =>
  btoa(String.fromCharCode(...bytes))
    .replaceAll("+", "-")
    .replaceAll("/", "_")
    .replaceAll("=", "");
const random = () => encoded(crypto.getRandomValues(new Uint8Array(32)));
const started = () => JSON.parse(sessionStorage.getItem(STARTED) ?? "null") as Started | null;

/** Return the claims of a token; null if it is no JWT. The server checks the signature. */
function claimsOf(token: string): Claims | null {
  try {
    const bytes = atob((token.split(".")[1] ?? "").replaceAll("-", "+").replaceAll("_", "/"));
    return JSON.parse(new TextDecoder().decode(Uint8Array.from(bytes, (each) => each.charCodeAt(0)))) as Claims;
  } catch {
    return null;
  }
}

/** Error of the issuer that a person reads. `isFinal` is true if the issuer answered. */
class SignInError extends Error {
  constructor(
    message: string,
    readonly isFinal = true,
  ) {
    super(message);
  }
}

/** Milliseconds for which the page waits for an answer of the issuer. */
const PATIENCE = 10_000;

async function read(url: string, form?: Record<string, string>): Promise<Record<string, unknown>> {
  let response: Response;
  try {
    const signal = AbortSignal.timeout(PATIENCE);
    response = await fetch(url, form ? { method: "POST", body: new URLSearchParams(form), signal } : { signal });
  } catch {
    throw new SignInError(
      `${new URL(url).origin} does not answer. It may be down, or it does not allow pages of ${window.location.origin} (CORS). Try again in a minute, or ask the issuer's administrator.`,
      false,
    );
  }
  const answer = (await response.json().catch(() => ({}))) as Record<string, unknown>;
  if (response.ok) return answer;
  throw new SignInError(
    `${new URL(url).origin} refused the request: ${answer["error_description"] ?? answer["error"] ?? `status ${response.status}`}`,
    response.status < 500,
  );
}

async function discovered({ issuer }: Issuer): Promise<{ authorization: string; token: string; end: unknown }> {
  const found = await read(`${issuer.replace(/\/$/, "")}/.well-known/openid-configuration`);
  const { authorization_endpoint: authorization, token_endpoint: token, end_session_endpoint: end } = found;
  if (found["issuer"] !== issuer || typeof authorization !== "string" || typeof token !== "string") {
    throw new SignInError(
      `The discovery document of ${issuer} is not valid: it names another issuer, or lacks an endpoint.`,
    );
  }
  return { authorization, token, end };
}

/** Leave the page for the issuer's. */
export async function signIn(issuer: Issuer): Promise<void> {
  if (!window.isSecureContext)
    throw new SignInError("The browser allows a sign-in only on a page with https, or on this computer.");
  const start: Started = { state: random(), nonce: random(), verifier: random(), href: window.location.search || "?" };
  const hash = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(start.verifier));
  const url = new URL((await discovered(issuer)).authorization);
  const parameters = {
    response_type: "code",
    client_id: issuer.clientId,
    redirect_uri: redirectUri(),
    scope: issuer.scopes,
    state: start.state,
    nonce: start.nonce,
    code_challenge: encoded(new Uint8Array(hash)),
    code_challenge_method: "S256",
    // Auth0 and Hydra make an access token for an API only if the request names it; other issuers ignore it.
    ...(issuer.audience !== issuer.clientId && { audience: issuer.audience }),
  };
  for (const [name, value] of Object.entries(parameters)) url.searchParams.set(name, value);
  sessionStorage.setItem(STARTED, JSON.stringify(start));
  window.location.assign(url);
}

/** Leave the page for the one at which the issuer ends its session and leads back. False if it has none, or is away. */
export async function signOutAt(issuer: Issuer): Promise<boolean> {
  const found = await discovered(issuer).catch(() => null);
  if (typeof found?.end !== "string" || !URL.canParse(found.end)) return false;
  const ended: Ended = { state: random(), href: window.location.search || "?" };
  const url = new URL(found.end);
  const parameters = { client_id: issuer.clientId, post_logout_redirect_uri: redirectUri(), state: ended.state };
  for (const [name, value] of Object.entries(parameters)) url.searchParams.set(name, value);
  sessionStorage.setItem(ENDED, JSON.stringify(ended));
  window.location.assign(url);
  return true;
}

/** Return the address at which the sign-out began that an answer of the issuer belongs to; null if it belongs to none. */
export function hrefBeforeSignOut(answer: URLSearchParams): string | null {
  const ended = JSON.parse(sessionStorage.getItem(ENDED) ?? "null") as Ended | null;
  if (!ended || ended.state !== answer.get("state")) return null;
  sessionStorage.removeItem(ENDED);
  return ended.href;
}

/** Return the address at which the sign-in began. */
export const hrefBefore = () => started()?.href ?? "?";

/** Return the session that the issuer's answer leads to. */
export async function finish(issuer: Issuer, answer: URLSearchParams): Promise<Session> {
  const start = started();
  sessionStorage.removeItem(STARTED);
  if (!start) throw new SignInError("This sign-in began in another tab, or was answered before. Sign in again.");
  if (answer.get("state") !== start.state || (answer.get("iss") ?? issuer.issuer) !== issuer.issuer) {
    throw new SignInError(
      "The answer belongs to another sign-in (its state differs), so the page ignored it. Sign in again.",
    );
  }
  const [refusal, description] = [answer.get("error"), answer.get("error_description")];
  if (refusal === "access_denied")
    throw new SignInError(
      `The issuer denied access. ${description ?? "You may have cancelled, or your account may not use LoomQL."}`,
    );
  if (refusal) throw new SignInError(`The issuer ended the sign-in: ${description ?? refusal}`);
  const form = {
    grant_type: "authorization_code",
    code: answer.get("code") ?? "",
    redirect_uri: redirectUri(),
    client_id: issuer.clientId,
    code_verifier: start.verifier,
  };
  const tokens: Tokens = await read((await discovered(issuer)).token, form);
  const id = claimsOf(tokens.id_token ?? "");
  if (id?.iss !== issuer.issuer || ![id.aud].flat().includes(issuer.clientId) || id.nonce !== start.nonce) {
    throw new SignInError("The issuer's id token is for another sign-in, so the page ignored it. Sign in again.");
  }
  return sessionOf(issuer, tokens, null);
}

/** Return the session of the token whose audience the server checks: the access token, or else the id token. */
function sessionOf(issuer: Issuer, tokens: Tokens, formerRefreshToken: string | null): Session {
  const given = [tokens.access_token, tokens.id_token].filter((token) => token !== undefined);
  const key = given.find((each) => [claimsOf(each)?.aud].flat().includes(issuer.audience));
  if (!key) {
    const audiences = given.flatMap((each) => claimsOf(each)?.aud ?? []).join(", ") || "nobody";
    throw new SignInError(
      `The server takes tokens for ${issuer.audience}, but the issuer made them for ${audiences}. An administrator sets LOOMQL_OIDC_AUDIENCE to the client id, or adds the audience to the client's access tokens.`,
    );
  }
  const { exp = 0, iat = exp - USUAL, nbf = iat } = claimsOf(key) as Claims;
  const since = Date.now();
  const lifetime = 1_000 * (exp - iat);
  const renewAt = since + Math.max(lifetime - AHEAD, lifetime / 2);
  return {
    key,
    token: {
      startsAt: Math.max(iat, nbf),
      endsAt: exp,
      since,
      renewAt,
      refreshToken: tokens.refresh_token ?? formerRefreshToken,
    },
  };
}

let renewing: Promise<Session> | null = null;

/** Return the session, renewed if its token ends soon, or if the server refused one that is not new. */
export async function renewed(issuer: Issuer, session: Session, isRefused: boolean): Promise<Session> {
  const { token } = session;
  const isDue =
    token?.refreshToken && Date.now() > (isRefused ? Math.min(token.since + AHEAD, token.renewAt) : token.renewAt);
  if (!isDue) return session;
  renewing ??= refreshed(issuer, session).finally(() => (renewing = null));
  return renewing;
}

async function refreshed(issuer: Issuer, session: Session): Promise<Session> {
  const token = session.token as Token;
  const refreshToken = token.refreshToken as string;
  try {
    const form = { grant_type: "refresh_token", refresh_token: refreshToken, client_id: issuer.clientId };
    return sessionOf(issuer, await read((await discovered(issuer)).token, form), refreshToken);
  } catch (error) {
    if (!(error instanceof SignInError)) throw error;
    // While the issuer does not answer, the token may still be valid; a later request tries again.
    return {
      ...session,
      token: error.isFinal ? { ...token, refreshToken: null } : { ...token, renewAt: Date.now() + AHEAD },
    };
  }
}

/** Say why the server refused a token, by the server's clock. */
export function reason({ startsAt, endsAt, renewAt }: Token, serverTime: number): string {
  const minutes = Math.ceil(Math.abs(1_000 * startsAt - serverTime) / 60_000);
  const skew = (side: string) =>
    `The server's clock is ${minutes} min ${side} the issuer's, so it refuses the new token. An administrator sets the clocks.`;
  if (1_000 * startsAt > serverTime + ROUNDED) return skew("behind");
  if (1_000 * endsAt > serverTime + ROUNDED)
    return "The server does not accept the issuer's token. Its log says why at the level debug.";
  return Date.now() < renewAt ? skew("ahead of") : "Your sign-in has ended.";
}
