"""Are the samples a posterior?"""
