"""proto"""
from __future__ import annotations
import numpy as np, math
from scipy.linalg import lapack
from dlntorch.flow.radau import tableau

FLOOR = 1e-15
EPS = np.finfo(float).eps

class Integrator:
    def __init__(self, A, y, cell, rtol, stages=5, size=None):
        self.A, self.y, self.cell, self.tab = A, y, cell, tableau(stages)
        self.m, self.n = A.shape
        self.rtol = rtol
        self.size = size
        self.r = y - A @ cell.psi if cell.psi.any() else y.copy()
        self.t, self.t_low = 0.0, 0.0
        self.evals = 0; self.steps = 0; self.rejected = 0; self.newtons=0; self.side=0
        self.weight = None
        self.guess = None      # polynomial of the last step (s, m) and its length
        self.h = None
        self.best = max(np.abs(cell.psi).max(), 0.0)
        self.expo = (stages + 1) / (2 * stages)
        self.rho = 0.1
        self.base()
        self.noise_rows = np.abs(A)

    def base(self):
        rate = self.cell.rate()
        if self.weight is not None:
            if not self.cell.bends: return
            ratio = rate / self.weight
            if ratio.max() < 2 and ratio.min() > 0.5: return
        W = rate
        order = np.argsort(-W, kind="stable")
        Q, R = np.linalg.qr((W[:, None] * self.A.T)[order])
        q = np.empty_like(Q); q[order] = Q
        if self.guess is not None:
            change = q.T @ (W[:, None] * self.B)
            self.guess = (self.guess[0] @ change.T, self.guess[1])
        self.B = q / W[:, None]
        self.BT = np.ascontiguousarray(self.B.T)
        self.R = R
        self.AR = np.ascontiguousarray(R @ self.A)
        self.ART = np.ascontiguousarray(self.AR.T)
        self.weight = W

    def weights(self, psi_size):
        """(natural, total) growth"""
        rate = self.rate = self.cell.rate()
        future = self.cell.sensitivity(max(self.size, self.best))
        D = self.D
        now = D / psi_size if psi_size > 0 else np.zeros_like(D)
        nat = np.maximum(rate, now)
        tot = np.maximum(np.maximum(future, now), rate)
        return nat, tot

    def factor(self, K, h):
        t = self.tab
        out = []
        idx = np.arange(self.m)
        for j, lam in enumerate(t.eigenvalues):
            if j == 0:
                M = K.copy(order="F"); M[idx, idx] += lam.real / h
                lu, piv, info = lapack.dgetrf(M, overwrite_a=1)
            else:
                M = K.astype(complex, order="F"); M[idx, idx] += lam / h
                lu, piv, info = lapack.zgetrf(M, overwrite_a=1)
            if info: return None
            out.append((lu, piv))
        return out

    def attempt(self, h, Z, tol_newton):
        """Solve the stages of a step of length h from guess Z; returns (Z, V, lu) or None."""
        t = self.tab
        s = t.stages
        cell = self.cell
        mid = s // 2
        v = (Z[mid] @ self.BT)
        with np.errstate(all="ignore"):
            D = cell.slope(v) if Z.any() else self.D
            if not np.isfinite(D).all():
                D = self.D
            K = (self.AR * D) @ self.B
        lus = self.factor(K, h)
        if lus is None or not np.isfinite(K).all(): return None
        Rr = self.R @ self.r
        V = Z @ self.BT
        last = None
        straight = h * Rr
        beta = np.abs(straight) <= 4 * np.abs(Z[-1]) if Z.any() else np.ones(self.m, bool)
        offset = t.nodes[:, None] * np.where(beta, straight, 0.0)
        rest = np.where(beta, 0.0, Rr)
        Y = Z - offset
        for it in range(30):
            with np.errstate(all="ignore"):
                dpsi = cell.change(V)
            self.evals += s; self.newtons += 1
            if not np.isfinite(dpsi).all(): return None
            G = rest - dpsi @ self.ART - (t.inverse @ Y) / h
            modes = t.to_modes @ G
            sol = np.empty_like(modes)
            for j, (lu, piv) in enumerate(lus):
                if j == 0:
                    sol[0] = lapack.dgetrs(lu, piv, modes[0].real)[0]
                else:
                    sol[j] = lapack.zgetrs(lu, piv, modes[j])[0]
            dZ = (t.from_modes @ sol).real
            Y = Y + dZ
            Z = Y + offset
            dV = dZ @ self.BT
            V = Z @ self.BT
            err = (np.abs(dV).max(axis=0) / np.maximum(tol_newton, 2*EPS*np.abs(V).max(axis=0))).max()
            if not math.isfinite(err): return None
            if err <= 1: break
            if last is not None:
                rho = err / last
                self.rho = rho
                if rho >= 0.9 and it > 3:
                    if err < 100: break
                    return None
                if rho < 1 and rho / (1 - rho) * err <= 1: break
                if rho >= 2: return None
            last = err
        else:
            return None
        return Z, V, lus

    def start_step(self, end):
        V = np.abs(self.B @ (self.R @ self.r))
        rate = np.maximum(self.cell.rate(), 0)
        top = (V * rate).max()
        h = 1e-2 / top if top > 0 else end
        K = (self.AR * self.D) @ self.B
        stiff = np.abs(K).sum(axis=1).max()
        return min(h, 0.1 / stiff if stiff > 0 else end, end)

    def limit_step(self, h):
        """to the pole by the velocity"""
        v = self.B @ (self.R @ self.r)
        return h

    def predicted(self, h):
        if self.guess is None:
            return np.zeros((self.tab.stages, self.m))
        Zo, ho = self.guess
        E = self.tab.interpolation(1 + self.tab.nodes * (h / ho))
        return (E - np.eye(self.tab.stages)[-1]) @ Zo

    def integrate(self, times, callback=None, max_steps=100000):
        outputs = []
        cell = self.cell
        self.D = cell.slope()
        end = times[-1]
        nxt = 0
        while nxt < len(times) and times[nxt] <= 0:
            outputs.append(cell.psi.copy()); nxt += 1
        if nxt == len(times): return np.array(outputs)
        h = self.start_step(end)
        s = self.tab.stages
        fails = 0
        while True:
            self.D = cell.slope()
            left = (end - self.t) - self.t_low
            lasth = h >= left * (1 - 1e-10)
            if lasth: h = left
            psi_now = np.abs(cell.psi).max()
            # estimated size at the end of the step
            guessed = psi_now
            nat, tot = self.weights(psi_now if psi_now > 0 else 0)
            if psi_now == 0 or True:
                v = h * (self.B @ (self.R @ self.r))
                vmax = np.abs(self.D * v).max()
                # kernel: relative to end of the step
                now = self.D / max(psi_now, min(vmax, 1e300)) if max(psi_now, vmax) > 0 else 0 * self.D
                nat = np.maximum(cell.rate(), now)
                tot = np.maximum(np.maximum(cell.sensitivity(max(self.size, self.best)), now), nat)
            tot = np.minimum(tot, nat * self.rtol / FLOOR)
            tol_newton = 0.1 * self.rtol / tot
            tol_est = 0.1 * (self.rtol * nat / tot) ** self.expo / nat
            Z0 = self.predicted(h) if fails == 0 else np.zeros((s, self.m))
            found = self.attempt(h, Z0, tol_newton)
            if found is None and fails == 0 and self.guess is not None:
                found = self.attempt(h, np.zeros((s, self.m)), tol_newton)
            if found is None:
                h *= 0.3; fails += 1; self.rejected += 1
                if fails > 60: raise RuntimeError(f"t={self.t} h={h}")
                continue
            Z, V, lus = found
            t = self.tab
            Rr = self.R @ self.r
            e = lapack.dgetrs(*lus[0], Rr + t.eigenvalues[0].real / h * (t.embedded @ Z))[0]
            ratio = (np.abs(self.B @ e) / tol_est).max()
            fac = 0.9 * max(ratio, 1e-30) ** (-1 / (s + 1))
            if ratio > 1:
                h *= max(0.1, fac); fails += 1; self.rejected += 1
                continue
            # outputs
            begin = self.t, self.t_low
            y = self.t_low + h
            tn = self.t + y
            tl = y - (tn - self.t)
            if lasth: tn, tl = end, 0.0
            while nxt < len(times) and times[nxt] <= tn:
                if times[nxt] == tn and tl == 0:
                    step = V[-1]
                else:
                    part = (times[nxt] - self.t) - self.t_low
                    full = (np.abs(self.B @ e) * tot / self.rtol).max()
                    Zi = t.interpolation(t.nodes * (part / h)) @ Z
                    if full <= 1:
                        step = (t.interpolation(np.array([part / h])) @ Z)[0] @ self.BT
                    else:
                        self.side += 1
                        rho = self.rho
                        f2 = self.attempt(part, Zi, tol_newton)
                        self.rho = rho
                        step = f2[1][-1]
                dp = cell.change(step[None])[0]
                outputs.append(cell.psi + dp if True else None)
                self.last_step = step
                nxt += 1
            self.r = self.r - self.A @ cell.change(V[-1:])[0]
            self.guess = (Z, h)
            cell.move(V[-1])
            true = self.y - self.A @ cell.psi
            size = self.noise_rows @ np.abs(cell.psi) + np.abs(self.y)
            if (np.abs(true - self.r) > 8 * EPS * size).any():
                self.r = true
                self.resync = getattr(self, "resync", 0) + 1
            self.t, self.t_low = tn, tl
            self.best = max(self.best, np.abs(cell.psi).max())
            self.steps += 1
            fails = 0
            if lasth or nxt == len(times): break
            self.base()
            h *= min(fac, 5.0)
        return np.array(outputs)
