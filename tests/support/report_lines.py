"""Shared by the tests of reports."""


def line(image, sample, psnr, misfit, finite=True):
    values = {"psnr": psnr, "ssim": psnr and psnr / 100, "misfit": misfit, "seconds": 1.0}
    values |= {"rank_mean": 5.0, "kept_mean": 0.5, "finite": finite, "lpips": psnr and 0.25}
    return {"task": "t", "method": "m", "image": image, "sample": sample} | values
